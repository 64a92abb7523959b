"""Names of the tensors beside SAM 2's image encoder, in every form in which it is published.

A file of SAM 2 holds a prompt encoder, a mask decoder and a memory for videos as well; SAM2-UNet takes
the image encoder alone. What may be left out is listed here in full, so that a name which is
neither the encoder's nor listed is noticed.

=====================  =================================================================================
list                   where its names come from
=====================  =================================================================================
`SAM2_UNUSED`          SAM 2's and SAM 2.1's own files; the same in all four sizes
`TRANSFORMERS_UNUSED`  ``Sam2VideoModel`` of transformers: 4.56.0, 4.57.1 and 5.23.0 have the same names
`TIMM_UNUSED`          ``HieraDet`` of timm 1.0.31
`PUBLISHED_UNUSED`     the published SAM2-UNet checkpoint, whose fourth decoder step never runs
=====================  =================================================================================

The lists are written as templates: ``{0..3}`` counts, ``{a,b}`` enumerates.
"""

from __future__ import annotations

import itertools
import re

__all__ = ["PUBLISHED_UNUSED", "SAM2_UNUSED", "SAM21_ONLY", "TIMM_UNUSED", "TRANSFORMERS_UNUSED"]


def expand(template: str) -> list[str]:
    """Write out the braces of a template.

    Args:
        template: text with any number of ``{first..last}`` (numbers, both included) and ``{a,b,c}``.

    Returns:
        Every combination, the last brace changing fastest.

    Example:
        >>> expand("layers.{0..1}.{q,out}_proj")
        ['layers.0.q_proj', 'layers.0.out_proj', 'layers.1.q_proj', 'layers.1.out_proj']
    """
    parts = re.split(r"\{(.*?)\}", template)  # texts at even places, contents of braces at odd ones
    return ["".join(choice) for choice in itertools.product(*map(_choices, parts, itertools.cycle((0, 1))))]


def _choices(part: str, braced: int) -> list[str]:
    """What may stand for one part of a template."""
    if not braced:
        return [part]
    first, dots, last = part.partition("..")
    return [str(n) for n in range(int(first), int(last) + 1)] if dots else part.split(",")


def _names(templates: str) -> frozenset[str]:
    """All names that whitespace-separated templates stand for."""
    return frozenset(name for template in templates.split() for name in expand(template))


SAM21_ONLY = _names("no_obj_embed_spatial obj_ptr_tpos_proj.{weight,bias}")
"""Names that SAM 2.1's files have and SAM 2's have not."""

SAM2_UNUSED = SAM21_ONLY | _names(
    """
    image_encoder.neck.convs.{0..3}.conv.{weight,bias}

    sam_prompt_encoder.mask_downscaling.{0,1,3,4,6}.{weight,bias}
    sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    sam_prompt_encoder.point_embeddings.{0..3}.weight
    sam_prompt_encoder.{no_mask,not_a_point}_embed.weight

    sam_mask_decoder.transformer.layers.{0,1}.self_attn.{q,k,v,out}_proj.{weight,bias}
    sam_mask_decoder.transformer.layers.{0,1}.cross_attn_token_to_image.{q,k,v,out}_proj.{weight,bias}
    sam_mask_decoder.transformer.layers.{0,1}.cross_attn_image_to_token.{q,k,v,out}_proj.{weight,bias}
    sam_mask_decoder.transformer.layers.{0,1}.mlp.layers.{0,1}.{weight,bias}
    sam_mask_decoder.transformer.layers.{0,1}.norm{1..4}.{weight,bias}
    sam_mask_decoder.transformer.final_attn_token_to_image.{q,k,v,out}_proj.{weight,bias}
    sam_mask_decoder.transformer.norm_final_attn.{weight,bias}
    sam_mask_decoder.{iou_token,mask_tokens,obj_score_token}.weight
    sam_mask_decoder.conv_{s0,s1}.{weight,bias}
    sam_mask_decoder.output_upscaling.{0,1,3}.{weight,bias}
    sam_mask_decoder.output_hypernetworks_mlps.{0..3}.layers.{0..2}.{weight,bias}
    sam_mask_decoder.{iou_prediction,pred_obj_score}_head.layers.{0..2}.{weight,bias}

    memory_attention.layers.{0..3}.{self_attn,cross_attn_image}.{q,k,v,out}_proj.{weight,bias}
    memory_attention.layers.{0..3}.{linear1,linear2,norm1,norm2,norm3}.{weight,bias}
    memory_attention.norm.{weight,bias}

    memory_encoder.mask_downsampler.encoder.{0,1,3,4,6,7,9,10,12}.{weight,bias}
    memory_encoder.fuser.layers.{0,1}.{dwconv,norm,pwconv1,pwconv2}.{weight,bias}
    memory_encoder.fuser.layers.{0,1}.gamma
    memory_encoder.{pix_feat,out}_proj.{weight,bias}

    maskmem_tpos_enc no_mem_embed no_mem_pos_enc no_obj_ptr
    mask_downsample.{weight,bias}
    obj_ptr_proj.layers.{0..2}.{weight,bias}
    """
)
"""Everything but ``image_encoder.trunk.*`` in SAM 2's and SAM 2.1's own files."""

TRANSFORMERS_UNUSED = _names(
    """
    vision_encoder.neck.convs.{0..3}.{weight,bias}

    {shared_image_embedding,prompt_encoder.shared_embedding}.positional_embedding
    prompt_encoder.mask_embed.{conv1,conv2,conv3,layer_norm1,layer_norm2}.{weight,bias}
    prompt_encoder.{no_mask,not_a_point,point}_embed.weight

    mask_decoder.transformer.layers.{0,1}.self_attn.{q,k,v,o}_proj.{weight,bias}
    mask_decoder.transformer.layers.{0,1}.cross_attn_token_to_image.{q,k,v,o}_proj.{weight,bias}
    mask_decoder.transformer.layers.{0,1}.cross_attn_image_to_token.{q,k,v,o}_proj.{weight,bias}
    mask_decoder.transformer.layers.{0,1}.mlp.proj_{in,out}.{weight,bias}
    mask_decoder.transformer.layers.{0,1}.layer_norm{1..4}.{weight,bias}
    mask_decoder.transformer.final_attn_token_to_image.{q,k,v,o}_proj.{weight,bias}
    mask_decoder.transformer.layer_norm_final_attn.{weight,bias}
    mask_decoder.{iou_token,mask_tokens,obj_score_token}.weight
    mask_decoder.{conv_s0,conv_s1,upscale_conv1,upscale_conv2,upscale_layer_norm}.{weight,bias}
    mask_decoder.output_hypernetworks_mlps.{0..3}.{proj_in,layers.0,proj_out}.{weight,bias}
    mask_decoder.{iou_prediction,pred_obj_score}_head.{proj_in,layers.0,proj_out}.{weight,bias}

    memory_attention.layers.{0..3}.{self_attn,cross_attn_image}.{q,k,v,o}_proj.{weight,bias}
    memory_attention.layers.{0..3}.{linear1,linear2}.{weight,bias}
    memory_attention.layers.{0..3}.layer_norm{1..3}.{weight,bias}
    memory_attention.layer_norm.{weight,bias}

    memory_encoder.mask_downsampler.layers.{0..3}.{conv,layer_norm}.{weight,bias}
    memory_encoder.mask_downsampler.final_conv.{weight,bias}
    memory_encoder.memory_fuser.layers.{0,1}.{depthwise_conv,layer_norm}.{weight,bias}
    memory_encoder.memory_fuser.layers.{0,1}.pointwise_conv{1,2}.{weight,bias}
    memory_encoder.memory_fuser.layers.{0,1}.scale
    memory_encoder.{feature_projection,projection}.{weight,bias}

    memory_temporal_positional_encoding no_memory_embedding no_memory_positional_encoding no_object_pointer
    mask_downsample.{weight,bias}
    object_pointer_proj.{proj_in,layers.0,proj_out}.{weight,bias}
    occlusion_spatial_embedding_parameter
    temporal_positional_encoding_projection_layer.{weight,bias}
    """
)
"""Everything but ``vision_encoder.backbone.*`` in a ``model.safetensors`` of SAM 2 by transformers."""

TIMM_UNUSED = _names("head.{norm,fc}.{weight,bias}")
"""What a ``HieraDet`` of timm has beside the encoder: the classifier's normalisation and its linear layer."""

PUBLISHED_UNUSED = _names(
    """
    up4.conv.double_conv.{0,3}.weight
    up4.conv.double_conv.{1,4}.{weight,bias,running_mean,running_var,num_batches_tracked}
    """
)
"""A fourth decoder step that the published SAM2-UNet holds and never runs."""
