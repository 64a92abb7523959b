"""The command line that writes the table beside the paper's."""

import csv
import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from monai_sam2unet import predict
from monai_sam2unet.benchmark import PROTOCOL_CHOICES
from monai_sam2unet.metrics import bootstrap_interval, score
from monai_sam2unet.networks.weights import BaseFile, architecture
from scripts import benchmark_table
from tests.weight_files import network

SIZES = ((50, 40), (44, 60), (64, 48))  # width, height: neither square nor equal


def draw(folder, image, mask, stems):
    """Pictures with a bright rectangle, and masks of it; gives the masks."""
    rng, masks = np.random.default_rng(len(stems)), {}
    for number, stem in enumerate(stems):
        width, height = SIZES[number % len(SIZES)]
        truth = np.zeros((height, width), np.uint8)
        truth[5 : 20 + 2 * number, 8:30] = 255
        colour = rng.integers(0, 80, (height, width, 3)) + truth[..., None] // 2
        for path, array in ((image, colour.astype(np.uint8)), (mask, truth)):
            place = folder / path.format(stem)
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(place)
        masks[stem] = truth
    return masks


def blurred(folder, masks):
    """Maps: the masks, blurred and darker; gives them."""
    maps = {}
    folder.mkdir(parents=True, exist_ok=True)
    for stem, mask in masks.items():
        picture = Image.fromarray(mask // 255 * 200).filter(ImageFilter.GaussianBlur(3))
        picture.save(folder / f"{stem}.png")
        maps[stem] = np.asarray(picture)
    return maps


@pytest.fixture
def chameleon(tmp_path):
    """Four pictures in the layout of CHAMELEON, and their masks."""
    folder = tmp_path / "CHAMELEON"
    return folder, draw(folder, "Image/{}.png", "GT/{}.png", [f"animal-{i}" for i in (1, 2, 3, 10)])


@pytest.fixture
def checkpoint(tmp_path):
    """`checkpoint(number)` gives a file of random weights, with the settings of its training beside it."""

    def make(number, **settings):
        torch.manual_seed(number)
        path = tmp_path / f"seed-{number}.pt"
        made = network()
        torch.nn.init.normal_(made.head.weight, std=20)  # otherwise the maps are nearly flat
        torch.save(made.state_dict(), path)
        known = {"input_size": 64, "threshold": 0.5, "val_fraction": 0.5, "seed": 0, **settings}
        path.with_suffix(".json").write_text(json.dumps(known))
        return path

    return make


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """`call(*arguments)` gives exit status, output in one line, errors, and the JSON by set and figure."""
    monkeypatch.setenv("COLUMNS", "200")

    def made(*arguments):
        output = tmp_path / "table"
        given = ["--output", output, "--num_workers", 0, "--device", "cpu", *arguments]
        status = benchmark_table.main([str(a) for a in given])
        out, err = capsys.readouterr()
        file = output / "table.json"
        document = json.loads(file.read_text()) if status == 0 and file.is_file() else {"figures": []}
        rows = {(row["set"], row["protocol"], row["figure"]): row for row in document["figures"]}
        return status, " ".join(out.split()), err, document, rows

    return made


def test_maps_give_what_score_gives(call, chameleon, tmp_path):
    folder, masks = chameleon
    maps = blurred(tmp_path / "maps", masks)
    status, out, _, document, rows = call("--predictions", tmp_path / "maps", "--data", folder)
    expected = score(maps.values(), masks.values())
    assert status == 0 and len(rows) == len(expected)
    for name, value in expected.items():
        row = rows["CHAMELEON", "paper", name]
        assert row["ours"] == pytest.approx(value, abs=1e-12)
        assert row["mean_over_pictures"] == (row["interval"] is not None)
    cases = [score([maps[stem]], [masks[stem]])["MAE"] for stem in sorted(masks)]
    drawn = bootstrap_interval(cases)
    assert rows["CHAMELEON", "paper", "MAE"]["interval"] == pytest.approx([drawn["low"], drawn["high"]])
    assert rows["CHAMELEON", "paper", "maxFm"]["interval"] is None
    assert f"Smeasure {expected['Smeasure']:.3f} " in out and "no mean over pictures" in out
    assert document["command"].startswith("python -m scripts.benchmark_table --output ")
    assert document["sets"][0]["n"] == 4 and len(document["sets"][0]["sha256"]) == 64


def test_other_number_of_pictures_is_not_compared(call, chameleon, tmp_path):
    """The paper's are of 76 pictures; its value is told, but stands in no column beside ours."""
    folder, masks = chameleon
    blurred(tmp_path / "maps", masks)
    _, _, _, _, rows = call("--predictions", tmp_path / "maps", "--data", folder)
    row = rows["CHAMELEON", "paper", "adpFm"]
    assert row["paper"] == {
        "name": "F", "set": "CHAMELEON", "n": 76, "value": 0.863, "comparable": False, "sure": True,
    }  # fmt: skip
    assert "F 0.863 is of 76 test pictures, not of these 4" in row["note"]
    assert rows["CHAMELEON", "paper", "maxFm"]["paper"] is None
    table = read_csv(tmp_path / "table" / "table.csv")
    assert {line["paper"] for line in table} == {""}
    assert {line["comparable"] for line in table if line["figure"] == "adpFm"} == {"no"}


def test_as_many_pictures_stand_beside_the_paper(call, tmp_path):
    masks = draw(tmp_path / "CHAMELEON", "Image/{}.png", "GT/{}.png", [f"animal-{i}" for i in range(1, 77)])
    maps = blurred(tmp_path / "maps", masks)
    status, _, _, _, rows = call("--predictions", tmp_path / "maps", "--data", tmp_path / "CHAMELEON")
    assert status == 0 and rows["CHAMELEON", "paper", "Smeasure"]["paper"]["comparable"]
    ours = score(maps.values(), masks.values())["Smeasure"]
    lines = markdown_table(tmp_path / "table" / "table.md")
    (line,) = [line for line in lines if line["figure"] == "Smeasure"]
    # order of columns and three decimals, as in the paper; .914 is the paper's
    assert list(line) == [
        "set",
        "n",
        "protocol",
        "figure",
        "paper",
        "ours",
        "95 % interval",
        "left out",
        "note",
    ]
    assert (line["n"], line["paper"], line["ours"]) == ("76", "0.914", f"{ours:.3f}")
    csv_line = next(x for x in read_csv(tmp_path / "table" / "table.csv") if x["figure"] == "Smeasure")
    assert (csv_line["paper"], csv_line["comparable"], csv_line["ours"]) == ("0.914", "yes", f"{ours:.6f}")


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def markdown_table(path):
    """Lines of the first table of a page, by heading."""
    lines = path.read_text().split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert all(re.fullmatch("-+:?", cell) for cell in cells[1])
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def test_network_gives_what_predict_gives(call, chameleon, checkpoint, tmp_path):
    folder, masks = chameleon
    path = checkpoint(0)
    status, _, err, document, rows = call(
        "--checkpoint", path, "--data", folder, "--protocol", "paper", "masnet", "fixed", "--batch_size", 3
    )
    assert status == 0, err
    maps = [predict(folder / "Image" / f"{stem}.png", model=path, device="cpu") for stem in masks]
    assert max(np.ptp(probability) for probability in maps) > 0.1, "a flat map would prove nothing"
    for protocol in ("paper", "masnet", "fixed"):
        for name, value in score(maps, masks.values(), protocol).items():
            row = rows["CHAMELEON", protocol, name]
            if np.isnan(value):
                assert row["ours"] is None and row["undefined"] == 4
            else:
                # other kernels for other batches: a value on a level's edge may move by a level
                assert row["ours"] == pytest.approx(value, abs=1e-4), name
    run = document["runs"][0]
    assert run["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (run["checkpoint"], run["variant"], run["input_size"], run["base"]) == (
        path.name,
        "nano",
        64,
        None,
    )


def test_saved_maps_give_the_same_figures(call, chameleon, checkpoint, tmp_path):
    folder, masks = chameleon
    draw(tmp_path / "own set", "images/{}.png", "masks/{}.png", ["a", "b"])  # a name that folders do not take
    given = ("--protocol", "paper", "--subset", "all", "--data", folder, tmp_path / "own set")
    status, _, err, _, network = call("--checkpoint", checkpoint(0), "--save_maps", *given)
    assert status == 0, err
    maps = (tmp_path / "table" / "maps").rename(tmp_path / "kept")
    status, _, err, _, again = call("--predictions", maps, *given)
    assert status == 0, err
    assert {key: row["ours"] for key, row in again.items()} == {
        key: row["ours"] for key, row in network.items()
    }
    stem, mask = next(iter(masks.items()))
    with Image.open(maps / "CHAMELEON" / "Image" / f"{stem}.png") as stored:
        levels = np.asarray(stored)
    assert (
        levels.shape == mask.shape and levels.min() == 0 and levels.max() >= 254
    )  # cut off, so 255 may be 254
    call("--checkpoint", checkpoint(0), checkpoint(1), "--save_maps", *given)
    assert sorted(path.name for path in (tmp_path / "table").glob("maps*")) == ["maps-1", "maps-2"]
    status, _, err, _, _ = call("--predictions", maps, "--save_maps", *given)
    assert status == 1 and "--save_maps is for --checkpoint" in err


def test_small_checkpoints_name_their_base_file(call, chameleon, checkpoint, tmp_path):
    folder, _ = chameleon
    path = checkpoint(0)
    tensors = torch.load(path)
    path.rename(tmp_path / "base.pt")
    base = BaseFile.of(tmp_path / "base.pt").reference()
    trained = {name: tensor for name, tensor in tensors.items() if not name.startswith("encoder.")}
    torch.save({"network": trained, "base": base, "architecture": architecture(tensors)}, path)
    given = ("--checkpoint", path, "--data", folder, "--pretrained_dir")
    status, _, err, document, rows = call(*given, tmp_path)
    assert status == 0 and document["runs"][0]["base"] == base, err
    (tmp_path / "base.json").write_bytes(path.with_suffix(".json").read_bytes())
    whole = call("--checkpoint", tmp_path / "base.pt", "--data", folder)[4]
    assert {key: row["ours"] for key, row in whole.items()} == {key: row["ours"] for key, row in rows.items()}
    assert f"with `base.pt`, SHA-256 `{base['sha256']}`" not in (tmp_path / "table" / "table.md").read_text()
    call(*given, tmp_path)
    assert f"with `base.pt`, SHA-256 `{base['sha256']}`" in (tmp_path / "table" / "table.md").read_text()
    (tmp_path / "empty").mkdir()
    status, _, err, _, _ = call(*given, tmp_path / "empty")
    assert status == 1 and "needs its base file base.pt" in err


def test_seeds_give_mean_and_standard_deviation(call, chameleon, checkpoint, tmp_path):
    folder, _ = chameleon
    paths = [checkpoint(seed) for seed in (0, 1, 2)]
    single = [call("--checkpoint", path, "--data", folder)[4] for path in paths]
    status, out, _, document, rows = call("--checkpoint", *paths, "--data", folder, "--cases")
    assert status == 0 and "±" in out and len(document["runs"]) == 3
    for key, row in rows.items():
        each = [made[key]["ours"] for made in single]
        mean = sum(each) / 3
        assert row["runs"] == pytest.approx(each) and row["ours"] == pytest.approx(mean)
        # by hand: divided by one less than the runs
        assert row["sd"] == pytest.approx((sum((x - mean) ** 2 for x in each) / 2) ** 0.5)
        assert single[0][key]["sd"] is None
    cases = read_csv(tmp_path / "table" / "cases-CHAMELEON.csv")
    assert [line["run"] for line in cases] == ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    own = [float(line["paper.MAE"]) for line in cases if line["run"] == "2"]
    assert np.mean(own) == pytest.approx(rows["CHAMELEON", "paper", "MAE"]["runs"][1], abs=1e-6)
    by_picture = np.mean([[float(x["paper.MAE"]) for x in cases if x["run"] == run] for run in "123"], axis=0)
    drawn = bootstrap_interval(by_picture)
    assert rows["CHAMELEON", "paper", "MAE"]["interval"] == pytest.approx(
        [drawn["low"], drawn["high"]], abs=1e-5
    )
    assert {line["sd"] for line in read_csv(tmp_path / "table" / "table.csv")} != {""}
    assert "± sample standard deviation over 3 runs" in (tmp_path / "table" / "table.md").read_text()


def test_several_sets_of_several_kinds(call, tmp_path):
    """PraNet's test sets are rows; a mirror set has its own protocol; subfolders are named by the set."""
    polyps, mirrors = tmp_path / "polyps", tmp_path / "PMD"
    draw(polyps, "TrainDataset/images/{}.png", "TrainDataset/masks/{}.png", ["1", "99"])
    for name in ("CVC-300", "Kvasir"):
        place = f"TestDataset/{name}"
        masks = draw(polyps, place + "/images/{}.png", place + "/masks/{}.png", ["1", "2", "3"])
        blurred(tmp_path / "maps" / name, masks)
    draw(mirrors, "train/image/{}.png", "train/mask/{}.png", ["a", "d"])
    masks = draw(mirrors, "test/image/{}.png", "test/mask/{}.png", ["b", "c"])
    maps = blurred(tmp_path / "maps" / "pmd", masks)
    status, _, err, document, rows = call(
        "--predictions", tmp_path / "maps", "--data", polyps / "TestDataset", mirrors
    )
    assert status == 0, err
    assert list(dict.fromkeys(name for name, _, _ in rows)) == ["CVC-300", "Kvasir", "PMD (mirrors)"]
    assert {protocol for name, protocol, _ in rows if "PMD" in name} == {"hetnet"}
    assert rows["Kvasir", "paper", "meandice"]["paper"]["value"] == 0.928
    for name, value in score(maps.values(), masks.values(), "hetnet").items():
        assert rows["PMD (mirrors)", "hetnet", name]["ours"] == pytest.approx(value)
    assert document["conventions"].keys() == {"paper", "hetnet"}


def test_intervals_are_over_patients_where_they_are_known(call, tmp_path):
    folder, cases = tmp_path / "own", {}
    for number, patient in enumerate(("p1", "p2", "p3")):
        masks = draw(folder, f"images/{patient}/{{}}.png", f"masks/{patient}/{{}}.png", ["a", "b", "c"])
        maps = blurred(tmp_path / "maps" / patient, masks)
        for stem, levels in maps.items():
            darker = levels // (number + 1)
            Image.fromarray(darker).save(tmp_path / "maps" / patient / f"{stem}.png")
            cases[f"{patient}/{stem}"] = score([darker], [masks[stem]], "masnet")["mIoU"]
    given = ("--predictions", tmp_path / "maps", "--data", folder, "--subset", "all", "--protocol", "masnet")
    interval = call(*given)[4]["own", "masnet", "mIoU"]["interval"]
    drawn = bootstrap_interval(list(cases.values()), [case.split("/")[0] for case in cases])
    assert interval == pytest.approx([drawn["low"], drawn["high"]])
    assert interval[0] < bootstrap_interval(list(cases.values()))["low"] - 0.01


def test_operating_point_is_that_of_the_model(call, chameleon, checkpoint):
    folder, masks = chameleon
    path = checkpoint(0, threshold=0.3)
    given = ("--checkpoint", path, "--data", folder, "--protocol", "fixed")
    maps = [predict(folder / "Image" / f"{stem}.png", model=path, device="cpu") for stem in masks]
    for arguments, threshold in (((), 0.3), (("--threshold", 0.6), 0.6)):
        _, _, _, document, rows = call(*given, *arguments)
        expected = score(maps, masks.values(), "fixed", threshold=threshold)["dice"]
        assert rows["CHAMELEON", "fixed", "dice"]["ours"] == pytest.approx(expected, abs=1e-4)
        assert f"probability >= {threshold}" in document["conventions"]["fixed"]


def test_pictures_that_define_nothing_are_counted(call, tmp_path):
    folder = tmp_path / "own"
    masks = draw(folder, "images/{}.png", "masks/{}.png", ["a", "b", "c"])
    maps = blurred(tmp_path / "maps", masks)
    Image.new("L", SIZES[1]).save(folder / "masks" / "b.png")
    masks["b"] = np.zeros_like(masks["b"])
    status, out, _, document, rows = call(
        "--predictions", tmp_path / "maps", "--data", folder, "--subset", "all",
        "--protocol", "auto", "masnet", "--threshold", "0.7",
    )  # fmt: skip
    assert status == 0 and {key[1] for key in rows} == {"paper", "fixed", "masnet"}
    assert rows["own", "fixed", "dice"]["undefined"] == 1 == rows["own", "masnet", "mIoU"]["undefined"]
    assert rows["own", "fixed", "false_alarm_rate"]["undefined"] == 2
    expected = score(maps.values(), masks.values(), "fixed", threshold=0.7)["dice"]
    assert rows["own", "fixed", "dice"]["ours"] == pytest.approx(expected)
    assert "probability >= 0.7" in document["conventions"]["fixed"]
    assert any("mIoU of 1" in note for note in document["sets"][0]["notes"]) and "mIoU of 1" in out


def test_binary_maps_are_said_to_be_so(call, chameleon, tmp_path):
    folder, masks = chameleon
    (tmp_path / "maps").mkdir()
    for stem, mask in masks.items():
        Image.fromarray(mask).save(tmp_path / "maps" / f"{stem}.png")
    _, out, _, document, _ = call("--predictions", tmp_path / "maps", "--data", folder)
    assert "they were binarised" in document["sets"][0]["notes"][0] and "they were binarised" in out


def test_maps_that_do_not_fit(call, chameleon, tmp_path):
    folder, masks = chameleon
    maps = tmp_path / "maps"
    blurred(maps, masks)
    Image.open(maps / "animal-1.png").resize((25, 20)).save(maps / "animal-1.png")
    given = ("--predictions", maps, "--data", folder)
    status, out, err, _, _ = call(*given)
    assert (status, out) == (1, "") and "the map is 20x25 (height x width), its mask 40x50" in err
    assert "--resize" in err and "animal-1.png" in err
    status, out, _, document, _ = call(*given, "--resize")
    assert status == 0 and "1 maps were resized" in document["sets"][0]["notes"][0] and "1 maps were" in out

    (maps / "animal-1.png").rename(maps / "other.png")
    (maps / "animal-10.png").unlink()
    status, _, err, _, _ = call(*given)
    assert status == 1 and "2 cases without a map: 2 (Image/animal-1, Image/animal-10)" in err
    assert "1 map without a case: 1 (other)" in err
    status, _, err, _, _ = call("--predictions", tmp_path / "none", "--data", folder)
    assert status == 1 and "no such folder" in err


def test_maps_of_several_sets_need_subfolders(call, chameleon, tmp_path):
    folder, masks = chameleon
    draw(tmp_path / "NC4K", "Imgs/{}.png", "GT/{}.png", ["1"])
    blurred(tmp_path / "maps" / "chameleon", masks)
    status, _, err, _, _ = call("--predictions", tmp_path / "maps", "--data", folder, tmp_path / "NC4K")
    assert status == 1 and "no subfolder for NC4K, expected one called NC4K or nc4k" in err


def test_maps_whose_name_fits_two_pictures(call, tmp_path):
    folder = tmp_path / "own"
    for patient in ("p1", "p2"):
        masks = draw(folder, f"images/{patient}/{{}}.png", f"masks/{patient}/{{}}.png", ["a"])
    blurred(tmp_path / "maps", masks)
    given = ("--predictions", tmp_path / "maps", "--data", folder, "--subset", "all")
    status, _, err, _, _ = call(*given)
    assert status == 1 and "map a could be of images/p1/a and of images/p2/a" in err
    for patient in ("p1", "p2"):
        blurred(tmp_path / "maps" / patient, masks)
    (tmp_path / "maps" / "a.png").unlink()
    status, _, _, document, rows = call(*given)
    assert status == 0 and document["sets"][0]["groups"] == 2 and rows["own", "paper", "MAE"]["n"] == 2
    Image.new("L", SIZES[0]).save(tmp_path / "maps" / "p1" / "a.jpg")
    assert "1 (a.jpg = a.png) are maps of one case" in call(*given)[2]


def test_checkpoints_that_cannot_be_used(call, chameleon, checkpoint, tmp_path):
    folder, _ = chameleon
    status, _, err, _, _ = call("--checkpoint", tmp_path / "none.pt", "--data", folder)
    assert status == 1 and "no checkpoint at" in err
    (tmp_path / "bad.pt").write_text("no weights")
    status, _, err, _, _ = call("--checkpoint", tmp_path / "bad.pt", "--data", folder)
    assert status == 1 and err.startswith("Error: ") and "bad.pt" in err and "Traceback" not in err
    path = checkpoint(0)
    status, _, err, _, _ = call("--checkpoint", path, path, "--data", folder)
    assert status == 1 and "the same model is given twice" in err
    status, _, err, _, _ = call("--checkpoint", path, checkpoint(1, threshold=0.4), "--data", folder)
    assert status == 1 and "thresholds 0.4 and 0.5" in err
    status, _, err, _, _ = call("--checkpoint", path, "--data", folder, "--resize")
    assert status == 1 and "--resize is for --predictions" in err


def test_models_of_different_splits_share_no_validation(call, checkpoint, tmp_path):
    folder = tmp_path / "own"
    draw(folder, "images/{}.png", "masks/{}.png", list("abcdef"))
    paths = [checkpoint(0), checkpoint(1, seed=1)]
    status, _, err, _, _ = call("--checkpoint", *paths, "--data", folder)
    assert status == 1 and "own has no split of its own, and the models drew different ones" in err
    status, _, err, document, _ = call("--checkpoint", paths[0], "--data", folder)
    assert status == 0 and document["sets"][0]["n"] == 3, "val_fraction 0.5 of the training"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_is_named(call, chameleon, checkpoint, workers):
    folder, _ = chameleon
    (folder / "Image" / "animal-2.png").write_bytes(b"no picture")
    status, _, err, _, _ = call("--checkpoint", checkpoint(0), "--data", folder, "--num_workers", workers)
    assert status == 1 and err.startswith("Error: CHAMELEON: ") and "animal-2.png" in err


def test_masks_of_another_size_than_their_pictures(call, chameleon, checkpoint):
    """The prediction gets the mask's size, and it is said."""
    folder, masks = chameleon
    Image.fromarray(masks["animal-1"]).resize((30, 20)).save(folder / "GT" / "animal-1.png")
    status, _, _, document, _ = call("--checkpoint", checkpoint(0), "--data", folder)
    assert status == 0 and document["sets"][0]["notes"][0].startswith("1 masks have another size")


def test_real_masks_blurred(call, real_data, tmp_path):
    """A hundred pictures of CAMO's test part; PySODMetrics gives the same figures."""
    sod = pytest.importorskip("py_sod_metrics")
    folder = real_data("CAMO")
    masks = {path.stem: np.asarray(Image.open(path).convert("L")) for path in (folder / "GT").glob("*.png")}
    maps = blurred(tmp_path / "maps", masks)
    status, _, err, _, rows = call("--predictions", tmp_path / "maps", "--data", folder)
    assert status == 0, err
    measures = {
        "Smeasure": (sod.Smeasure(), "sm"),
        "wFmeasure": (sod.WeightedFmeasure(), "wfm"),
        "MAE": (sod.MAE(), "mae"),
    }
    for stem in masks:
        for measure, _ in measures.values():
            measure.step(pred=maps[stem], gt=masks[stem])
    for name, (measure, key) in measures.items():
        assert rows["CAMO", "paper", name]["ours"] == pytest.approx(measure.get_results()[key], abs=1e-6)


def test_wrong_arguments(capsys):
    assert benchmark_table.PROTOCOLS == PROTOCOL_CHOICES
    for wrong in (
        ["--threshold", "2"],
        ["--batch_size", "0"],
        ["--num_workers", "-1"],
        ["--protocol", "best"],
    ):
        with pytest.raises(SystemExit):
            benchmark_table.main(["--predictions", "maps", "--data", "set", *wrong])
        assert wrong[0] in capsys.readouterr().err


def test_help_answers_at_once(bundle_root):
    code = """
import runpy, sys
sys.argv = ["benchmark_table", "--help"]
try:
    runpy.run_module("scripts.benchmark_table", run_name="__main__")
finally:
    print(sorted({"torch", "monai", "rich", "numpy"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=bundle_root, capture_output=True, text=True)
    assert done.returncode == 0 and "--predictions" in done.stdout
    assert done.stdout.endswith("[]\n")
