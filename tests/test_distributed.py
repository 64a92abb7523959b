"""Several processes: what they share, agree on and say; the runs of the bundle are in tests/bundle."""

import json
import os
import sys

import pytest
import torch
from torch import nn

from monai_sam2unet import SAM2UNet, StructureLoss, distributed
from monai_sam2unet.commandline import _message
from monai_sam2unet.distributed import LOSS, check_started, is_loss, may_say, parallel, shares, start
from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.tuning import TUNINGS
from tests.bundle.processes import together
from tests.distributed_parts import exchange, stopped_while_waiting

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")


@needs_fork
def test_what_processes_exchange(tmp_path):
    codes, logs = together(tmp_path, exchange, str(tmp_path))
    assert codes == [0, 0], logs
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["group"] == [2, "gloo", True] and second["group"] == [2, "gloo", False]
    # torchrun's number of the process on its machine stays, whatever Slurm's is
    assert first["local"] == ["0", "7", 0] and second["local"] == ["1", "7", 1]
    assert first["logs"] and not second["logs"]
    assert first["made"] == second["made"] == "by 0"
    assert first["input_error"] == second["input_error"] == "InputError: no such folder"
    assert first["other_error"] == "KeyError: 'x'"
    assert second["other_error"] == "ProcessLostError: process 0 failed: 'x'"
    for seen in (first, second):
        assert seen["same"] == "nothing"
        assert seen["different"] == "InputError: the epoch differs among the processes, got [0, 1]; look"
        assert seen["gathered"] == [0, 1, 2, 3, 4]
        # means of 1 and 2, of 10 and 11, of 1 and 3
        assert seen["statistics"] == [[1.5, 2.0], [10.5, 2.0]]
        assert seen["gradient"] == [[1.5, 1.5]]  # the mean of the inputs 1 and 2


@needs_fork
def test_a_process_that_waits_can_be_stopped_and_says_so(tmp_path):
    codes, logs = together(tmp_path, stopped_while_waiting)
    assert codes == [0, 143]  # 128 + SIGTERM
    assert logs[1].strip().endswith(LOSS)


# --- one process


def test_one_process_needs_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert check_started() is None
    assert may_say("a") and may_say("a") and may_say(LOSS)
    assert distributed.local_rank() is None
    assert distributed.from_first(lambda: 3) == 3
    assert distributed.gathered([1, 2]) == [1, 2]
    assert distributed.agree(1, "x", "y") is None
    network = nn.Linear(1, 1)
    assert parallel(network, torch.device("cpu"), "auto") is network
    assert distributed.stop() is None
    assert list(shares(list(range(3)))) == [0, 1, 2]


# --- shares


def test_every_item_falls_to_one_process(monkeypatch):
    for processes in (2, 3, 5):
        for size in range(processes, 12):
            monkeypatch.setattr("monai_sam2unet.distributed.sharing.processes", lambda n=processes: n)
            found = []
            for rank in range(processes):
                monkeypatch.setattr("monai_sam2unet.distributed.sharing.rank", lambda r=rank: r)
                found.append(list(shares(list(range(size)))))
            assert sorted(item for share in found for item in share) == list(range(size))
            monkeypatch.setattr("ignite.distributed.all_gather", lambda _, all_of=found: all_of)
            assert distributed.gathered(found[0]) == list(range(size))


def test_fewer_pictures_than_processes(monkeypatch):
    monkeypatch.setattr("monai_sam2unet.distributed.sharing.processes", lambda: 4)
    with pytest.raises(InputError, match=r"3 pictures .* cannot be shared by 4 processes; start at most 3"):
        shares([0, 1, 2])
    assert list(shares([])) == []  # nothing is validated


# --- starting


@pytest.mark.parametrize(
    ("device", "gpu", "message"),
    [
        ("mps", False, "several processes need device auto, cuda or cpu, got 'mps'"),
        ("cpu", True, "several processes with device 'cpu' must not see a GPU; hide it: CUDA_VISIBLE"),
    ],
)
def test_devices_that_several_processes_cannot_have(monkeypatch, device, gpu, message):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    with pytest.raises(InputError, match=message):
        start(torch.device(device))


def test_configs_for_one_process_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(InputError, match=r"8 processes were started, .*'configs/multi_gpu_train\.json'"):
        check_started()


@pytest.mark.parametrize("sync", [True, "true", "True", "auto", False, "false"])
def test_batch_normalisation_of_all_processes_as_one(monkeypatch, sync):
    """Weights and names stay those of the plain network, which the optimiser has."""
    wrapped = []

    def wrap(network, device_ids, broadcast_buffers):
        wrapped.append((network, device_ids, broadcast_buffers))

    monkeypatch.setattr("monai_sam2unet.distributed.sharing.processes", lambda: 2)
    monkeypatch.setattr(
        "monai_sam2unet.distributed.sharing.DistributedDataParallel",
        lambda network, device_ids, broadcast_buffers: wrapped.append(
            (network, device_ids, broadcast_buffers)
        ),
    )
    network = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)))
    before = dict(network.named_parameters())
    names = list(network.state_dict())
    parallel(network, torch.device("cuda", 1), sync)
    ((inner, device_ids, sent_at_every_step),) = wrapped
    assert sent_at_every_step is False
    assert inner is network and device_ids == [torch.device("cuda", 1)]
    assert isinstance(network[0][0], nn.SyncBatchNorm) is (str(sync).lower() != "false")
    assert list(network.state_dict()) == names
    assert all(parameter is before[name] for name, parameter in network.named_parameters())


# --- messages


# the first is what gloo says here when its peer was killed (torch 2.13)
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer"), True),
        (torch.distributed.DistBackendError("NCCL error"), True),
        (distributed.ProcessLostError("process 0 failed"), True),
        (RuntimeError("out of memory"), False),
        (InputError("gloo/transport"), False),
    ],
)
def test_the_loss_of_a_process_is_known_by_its_error(error, expected):
    assert is_loss(error) is expected
    assert (_message(error) == LOSS) is expected


def test_a_message_is_said_once(monkeypatch):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
    }.items():
        monkeypatch.setenv(name, value)
    assert may_say("a wrong setting") and not may_say("a wrong setting")
    assert not may_say(LOSS)  # the other has said why
    assert may_say("something else")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # torchrun has started all of them again
    assert may_say(LOSS) and not may_say(LOSS)
    assert may_say("a wrong setting")
    monkeypatch.setattr(
        "monai_sam2unet.distributed.ending._board", lambda: (_ for _ in ()).throw(RuntimeError)
    )
    assert may_say("a wrong setting")  # nobody to ask


def test_leaving_ends_only_what_has_others(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    distributed.leave()
    assert ended == []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    distributed.leave()
    assert ended == [1]


# --- the network


@pytest.mark.parametrize("tuning", TUNINGS)
def test_everything_that_learns_has_a_gradient(tuning):
    """DistributedDataParallel waits for each of them: it is not told to look for parameters without use."""
    network = SAM2UNet(
        "nano", decoder_channels=16, adapter_dim=8 if tuning == "adapters" else 0, tuning=tuning
    )
    picture = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    StructureLoss()(network.train()(picture), (picture[:, :1] > 0.5).float()).mean().backward()
    learning = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    assert learning and not [name for name, gradient in learning.items() if gradient is None]
