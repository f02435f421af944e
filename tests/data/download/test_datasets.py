"""Data sets from the catalogue, a mirror, and the user's own."""

import functools
import hashlib
import http.server
import io
import json
import pwd
import shutil
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srgan.commands.main import main
from srgan.config import schema
from srgan.data.choice import choose
from srgan.data.download import catalog, datasets
from srgan.data.download import http as transfer
from srgan.data.download.catalog import DATA_SETS, File, Source
from srgan.data.download.datasets import Checksums, digest_of, fetch_data_set
from srgan.data.left_out import LeftOut
from srgan.utils.cache import cache_folder
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256
from tests.helpers.commands import environment, run
from tests.helpers.project import write_params

CHECKSUMS = Path("checksums.json")


def png(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(path, names, seed=0):
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, png(seed + number))
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a cache of its own and no mirror."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SRGAN_MIRROR", raising=False)
    monkeypatch.setattr(transfer, "MIN_WAIT", 0.01)
    return tmp_path


@pytest.fixture
def served(place):
    """A folder, and its address."""
    folder = place / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetch(entry, split, folder, checksums=None, left_out=None):
    return fetch_data_set(entry, split, folder, checksums or Checksums(CHECKSUMS), left_out or LeftOut())


def names(records):
    return [record["file"] for record in records]


# -- the catalogue -----------------------------------------------------------------------------------------------------


def test_the_catalogue_is_complete_and_consistent():
    wanted = {"sample", "div2k", "flickr2k", "bsds500", "general100", "t91", "cc0", "kodak24", "set5", "set14", "b100", "urban100"}
    assert set(DATA_SETS) == wanted
    for entry in DATA_SETS.values():
        assert entry.licence
        assert entry.citation
        assert entry.homepage.startswith("http")
        assert set(entry.counts) == set(entry.sources)
        for sources in entry.sources.values():
            for file in (file for source in sources for file in source.files):
                assert all(url.startswith(("http://", "https://", "package:")) for url in file.urls)
                assert len(file.sha256) in (0, 64)
    (train,), (valid,) = (DATA_SETS["div2k"].sources[split][0].files for split in ("train", "test"))
    assert (train.size, train.sha256[:8], valid.size, valid.sha256[:8]) == (3530603713, "9d0b9c46", 448993893, "20dd31fd")
    networks = [weights.files[0] for weights in catalog.WEIGHTS.values() if weights.files[0].name.endswith(".pth")]
    assert len(networks) >= 4
    for first in networks:
        assert first.name.rsplit("-", 1)[1].removesuffix(".pth") == first.sha256[:8]


def test_benchmarks_are_not_trained_on_and_val_of_bsds500_is_left_out():
    with pytest.raises(SrganError, match="set5 is a benchmark: training on it would make its scores worthless"):
        choose(("set5",), "train")
    with pytest.raises(SrganError, match="t91 has no test images"):
        choose(("t91",), "test")
    patterns = [pattern for source in DATA_SETS["bsds500"].sources["train"] for pattern in source.inside]
    assert not any("/val/" in pattern for pattern in patterns)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("div3k", "no data set is called 'div3k'; did you mean div2k? (see: srgan data list)"),
        ("/no/such/place", "no such folder or archive"),
        ("https://example.org/page", "ends like neither an archive nor an image"),
        ("file.txt", "neither a folder nor a zip or tar archive"),
    ],
)
def test_names_that_mean_nothing_are_told(place, name, message):
    (place / "file.txt").write_text("x")
    with pytest.raises(SrganError) as caught:
        choose((name,), "train")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["photos\0", "x" * 300, "a/" * 3000])
def test_a_name_that_no_folder_can_have_is_refused(place, name):
    write_params(place, {"data.train": [name]})
    with pytest.raises(SrganError, match=r"params\.yaml: data\.train: .*not a folder or archive"):
        choose(schema.load(place / "params.yaml").data.train, "train")


def test_an_archive_without_images_is_refused(place, capsys):
    write_zip(place / "empty.zip", [])
    write_params(place, {"data.train": [str(place / "empty.zip")]})
    with pytest.raises(SystemExit):
        main(["download"])
    assert "holds 0 images" in capsys.readouterr().err


def test_two_sets_cannot_share_a_name(place):
    for folder in ("a/photos", "b/photos", "div2k"):
        (place / folder).mkdir(parents=True)
    with pytest.raises(SrganError, match=r"two data sets are called 'photos'\. Give one a name of its own"):
        choose(("a/photos", "b/photos"), "train")
    assert [entry.name for entry in choose(("div2k", "./div2k"), "train")] == ["div2k", "my-div2k"]


def test_the_catalogue_can_be_read(capsys, place):
    write_params(place, {"data.train": ["bsds500"], "data.test": ["set5", "./mine"]})
    main(["data", "list"])
    listing = capsys.readouterr().out
    assert all(name in listing for name in (*DATA_SETS, "vgg19", "4.0 GB"))
    main(["data", "show", "div2k"])
    shown = capsys.readouterr().out
    assert "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc" in shown
    assert "size: 448993893" in shown
    main(["data", "show", "alexnet"])
    assert "alexnet-owt-7be5be79.pth" in capsys.readouterr().out
    main(["data", "licence"])
    licences = capsys.readouterr().out
    assert "non-commercial" in licences
    assert "Bevilacqua" in licences
    assert "./mine: your own" in licences
    with pytest.raises(SystemExit):
        main(["data", "show", "div3k"])
    assert "the catalogue has no 'div3k'; did you mean div2k?" in capsys.readouterr().err


# -- sample ------------------------------------------------------------------------------------------------------------


def test_sample_is_photographs_with_the_promised_test_images():
    sample = DATA_SETS["sample"]
    images = {split: {file.name: file for file in sources[0].files} for split, sources in sample.sources.items()}
    photos = images["train"] | images["test"]
    assert set(images["test"]) == {"astronaut.png", "chelsea.png", "coffee.png"}
    assert not {"logo.png", "color.png", "page.png", "text.png", "phantom.png", "chessboard_RGB.png"} & set(photos)
    assert photos["motorcycle_left.png"].group == photos["motorcycle_right.png"].group != ""
    assert {split: len(files) for split, files in images.items()} == sample.counts


def test_a_changed_source_file_is_refused(place, monkeypatch):
    package = place / "skimage"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "data" / "astronaut.png").write_bytes(b"not the astronaut")

    class Spec:
        origin = str(package / "__init__.py")

    monkeypatch.setattr(catalog.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(SrganError, match=r"astronaut\.png: its SHA-256 is not 88431cd9653c"):
        fetch(DATA_SETS["sample"], "test", place / "out")


# -- checksums of what has none published --------------------------------------------------------------------------------


def entry_at(url, count=3, name="some"):
    return replace(DATA_SETS["t91"], name=name, counts={"train": count}, sources={"train": (Source((File((url,)),)),)})


def test_the_first_download_is_recorded_and_a_later_one_must_match(served, caplog):
    folder, address = served
    write_zip(folder / "a.zip", ["Some/x.png", "Some/y.png", "Some/z.png", "Some/readme.txt"])
    checksums = Checksums(CHECKSUMS)
    records = fetch(entry_at(f"{address}/a.zip"), "train", folder.parent / "out", checksums)
    assert names(records) == ["x.png", "y.png", "z.png"]
    checksums.save()
    assert list(json.loads(CHECKSUMS.read_text())) == ["some/train"]
    # The same images from another place, packed in another way, are the same set.
    write_zip(folder / "b.zip", ["1.png", "2.png", "3.png"])
    assert len(fetch(entry_at(f"{address}/b.zip"), "train", folder.parent / "out2")) == 3
    write_zip(folder / "c.zip", ["x.png", "y.png", "z.png"], seed=50)
    with pytest.raises(SrganError, match=r"not those of the first download .* delete that line of checksums\.json"):
        fetch(entry_at(f"{address}/c.zip"), "train", folder.parent / "out3")


def test_a_broken_record_is_told(place):
    CHECKSUMS.write_text("{")
    with pytest.raises(SrganError, match=r"checksums\.json: not valid JSON .* Restore it with git"):
        Checksums(CHECKSUMS)


def test_a_source_that_is_broken_or_incomplete_gives_way_to_the_next(served, caplog):
    folder, address = served
    write_zip(folder / "few.zip", ["x.png"])
    (folder / "broken.zip").write_bytes(write_zip(folder / "good.zip", ["x.png", "y.png", "z.png"]).read_bytes()[:2000])
    entry = entry_at("")
    sources = tuple(Source((File((f"{address}/{name}.zip",)),)) for name in ("missing", "few", "broken", "good"))
    entry = replace(entry, sources={"train": sources})
    assert len(fetch(entry, "train", folder.parent / "out")) == 3
    for reason in ("HTTP 404", "holds 1 images, expected 3", "cannot be unpacked"):
        assert reason in caplog.text
    assert [path.name for path in (folder.parent / "cache").rglob("*.zip")] == ["good.zip"]  # the others may be mended the next time
    with pytest.raises(SrganError, match=r"failed to fetch data set .*: .*404.*. Put it under \$SRGAN_MIRROR/datasets"):
        fetch(replace(entry, sources={"train": sources[:1]}), "train", folder.parent / "out2")


def test_images_with_a_published_digest_must_match_it(served, caplog):
    folder, address = served
    write_zip(folder / "a.zip", ["x.png", "y.png", "z.png"])
    entry = entry_at(f"{address}/a.zip")
    records = fetch(entry, "train", folder.parent / "out")
    assert "plain http without a published digest" in caplog.text
    caplog.clear()
    right = digest_of([record["sha256"] for record in records])
    (source,) = entry.sources["train"]
    fetch(replace(entry, sources={"train": (replace(source, images=right),)}), "train", folder.parent / "out2")
    assert "plain http" not in caplog.text
    with pytest.raises(SrganError, match="holds other images than published"):
        wrong = replace(entry, sources={"train": (replace(source, images="0" * 64),)})
        fetch(wrong, "train", folder.parent / "out3")


def test_the_digests_that_ship_are_those_of_the_real_images(mirror):
    for name, split in (("b100", "test"), ("bsds500", "train")):
        folder = mirror / "datasets" / name
        found = digest_of([sha256(path) for path in folder.rglob("*.jpg")])
        assert [source.images for source in DATA_SETS[name].sources[split] if source.images] == [found]


def test_no_source_over_plain_http_alone_goes_unverified_but_general100(served):
    """Who adds a source should know a digest of it, or a way that is encrypted."""
    unverified = {
        entry.name
        for entry in DATA_SETS.values()
        for sources in entry.sources.values()
        if not any(source.verified or source.files[0].urls[0].startswith("https://") for source in sources)
    }
    assert unverified == {"general100"}


# -- mirrors -------------------------------------------------------------------------------------------------------------


def fill_mirror(folder):
    listed = []
    for number, name in enumerate(("train/a.png", "train/b.png", "test/c.png")):
        path = folder / "datasets/bsds500" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
        listed.append(f"{hashlib.sha256(png(number)).hexdigest()}  ./{path.relative_to(folder)}\n")
    (folder / datasets.MANIFEST).write_text("".join(listed))


@pytest.mark.parametrize("kind", ["folder", "file address", "http address"])
def test_a_mirror_comes_first_and_is_checked_against_its_own_list(served, monkeypatch, kind):
    folder, address = served
    fill_mirror(folder)
    mirror = {"folder": str(folder), "file address": folder.as_uri(), "http address": address}[kind]
    monkeypatch.setenv("SRGAN_MIRROR", mirror)
    entry = replace(DATA_SETS["bsds500"], counts={"train": 3})
    records = fetch(entry, "train", folder.parent / "out")
    assert names(records) == ["test/c.png", "train/a.png", "train/b.png"]
    (folder / "datasets/bsds500/train/a.png").write_bytes(png(99))
    shutil.rmtree(cache_folder(), ignore_errors=True)
    monkeypatch.setattr(catalog.DataSet, "sources", {}, raising=False)
    lonely = replace(entry, sources={"train": ()})
    with pytest.raises(SrganError, match="SHA-256"):
        fetch(lonely, "train", folder.parent / "out2")


def test_a_mirror_may_have_more_images_than_a_set_that_names_its_images(served, monkeypatch):
    folder, _ = served
    fill_mirror(folder)
    monkeypatch.setenv("SRGAN_MIRROR", str(folder))
    named = (
        Source((File(("https://example.org/x/a.png",), path="train/a.png"), File(("https://example.org/x/c.png",), path="test/c.png"))),
    )
    entry = replace(DATA_SETS["bsds500"], counts={"train": 2}, folders={}, sources={"train": named})
    assert names(fetch(entry, "train", folder.parent / "out")) == ["test/c.png", "train/a.png"]


def test_a_mirrors_list_cannot_lead_out_of_the_folder(served, monkeypatch):
    folder, address = served
    (folder / "escaped.png").write_bytes(png(1))
    checksum = hashlib.sha256(png(1)).hexdigest()
    names = ("datasets/some/../../../../escaped.png", f"datasets/some//{folder.parent}/absolute.png")
    (folder / datasets.MANIFEST).write_text("".join(f"{checksum}  {name}\n" for name in names) + "<html>a login page</html>\n")
    monkeypatch.setenv("SRGAN_MIRROR", address)
    lonely = replace(entry_at("", count=1), sources={"train": ()})
    with pytest.raises(SrganError, match="failed to fetch data set 'some'"):
        fetch(lonely, "train", folder.parent / "out")
    assert not list(folder.parent.rglob("absolute.png"))


def test_a_users_own_archive_is_not_taken_from_the_mirror_nor_for_the_catalogues(served, monkeypatch):
    folder, _ = served
    (folder / "datasets/set5").mkdir(parents=True)
    (folder / "datasets/set5/other.png").write_bytes(png(9))
    monkeypatch.setenv("SRGAN_MIRROR", str(folder))
    write_zip(folder.parent / "set5.zip", ["mine.png"])
    entry, records = fetch_own(str(folder.parent / "set5.zip"), "test", "out", folder.parent)
    assert (entry.name, names(records)) == ("my-set5", ["mine.png"])


def test_one_more_address_is_no_change_of_the_others(served):
    folder, address = served
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(number))
    addresses = tuple(f"{address}/{number}.png" for number in range(3))
    for count in (2, 3):
        (entry,) = choose(addresses[:count], "train")
        checksums = Checksums(CHECKSUMS)
        assert len(fetch(entry, "train", folder.parent / f"out{count}", checksums)) == count
        checksums.save()


def test_a_mirror_may_hold_archives(served, monkeypatch):
    folder, address = served
    (folder / "datasets/some").mkdir(parents=True)
    write_zip(folder / "datasets/some/a.zip", ["x.png", "y.png", "z.png"])
    entry = entry_at("http://127.0.0.1:9/elsewhere/a.zip")
    for number, mirror in enumerate((str(folder), address)):
        monkeypatch.setenv("SRGAN_MIRROR", mirror)
        assert len(fetch(entry, "train", folder.parent / f"out{number}")) == 3


def test_the_benchmarks_come_from_the_mirror(mirror, place, monkeypatch):
    monkeypatch.setenv("SRGAN_MIRROR", str(mirror))
    for name, split in (("set5", "test"), ("set14", "test"), ("kodak24", "test"), ("t91", "train")):
        assert len(fetch(DATA_SETS[name], split, place / name)) == DATA_SETS[name].counts[split]


# -- the user's own ------------------------------------------------------------------------------------------------------


def fetch_own(name, split, out, place):
    (entry,) = choose((name,), split)
    return entry, fetch(entry, split, place / out)


def test_a_folder_of_ones_own(place):
    photos = place / "my photos"
    for name in ("b.PNG", "a.png", "deep/er/c.png", ".hidden.png", "notes.txt", "__MACOSX/x.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(png(1))
    entry, records = fetch_own(str(photos) + "/", "train", "out", place)
    assert entry.name == "my-photos"
    assert names(records) == ["a.png", "b.PNG", "deep/er/c.png"]
    with pytest.raises(SrganError, match="no images in"):
        (place / "empty").mkdir()
        fetch_own("./empty", "train", "out2", place)


@pytest.mark.parametrize("packed", [False, True])
def test_folders_called_train_and_test_are_the_split(place, packed):
    members = ["photos/train/a.png", "photos/train/b.png", "photos/test/c.png"]
    if packed:
        name = str(write_zip(place / "photos.zip", members))
    else:
        for number, member in enumerate(members):
            (place / member).parent.mkdir(parents=True, exist_ok=True)
            (place / member).write_bytes(png(number))
        name = "photos/"
    for split, expected in (("train", {"a.png", "b.png"}), ("test", {"c.png"})):
        entry, records = fetch_own(name, split, f"out-{split}", place)
        assert entry.name == "photos"
        assert {file.rsplit("/", 1)[-1] for file in names(records)} == expected


def test_an_archive_with_both_splits_has_a_digest_for_each(served):
    folder, address = served
    write_zip(folder / "photos.zip", ["photos/train/a.png", "photos/test/b.png"])
    for number in range(2):  # the second time, both are compared
        checksums = Checksums(CHECKSUMS)
        for split in ("train", "test"):
            (entry,) = choose((f"{address}/photos.zip?token=T",), split)
            assert len(fetch(entry, split, folder.parent / f"{split}{number}", checksums)) == 1
        checksums.save()
    assert list(json.loads(CHECKSUMS.read_text())) == [f"{address}/photos.zip (test)", f"{address}/photos.zip (train)"]


def test_names_in_an_archive_become_safe_and_what_it_holds_beside_images_is_counted(served):
    folder, address = served
    members = ["p/x.png", "p/\x1b[31m.png", "p/notes.txt", "p/._x.png", "__MACOSX/x.png", "p/" + "long" * 80 + ".png"]
    write_zip(folder / "more.zip", members)
    (entry,) = choose((f"{address}/more.zip",), "train")
    left_out = LeftOut()
    found = names(fetch(entry, "train", folder.parent / "a", left_out=left_out))
    assert found[0] == "%1B[31m.png"
    assert len(found[1]) < 210
    assert found[2:] == ["x.png"]
    assert left_out.counts == {"ends in .txt, which is not read": 1, "hidden": 2}


@pytest.mark.parametrize("name", ["~/photos", "https://example.org/photos.zip", "~nobody-of-this-name/photos"])
def test_a_user_without_a_home_folder_gets_an_error_in_words(place, monkeypatch, capsys, name):
    """Containers run as a number that no list of users knows."""

    def unknown(_):
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for variable in ("HOME", "SRGAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    write_params(place, {"data.train": [name]})
    with pytest.raises(SystemExit):
        main(["download"])
    error = capsys.readouterr().err
    assert "internal error" not in error
    assert "Set HOME" in error or "Set SRGAN_CACHE or HOME to a folder" in error


@pytest.mark.slow
def test_a_library_that_needs_a_home_folder_gets_the_same_answer(place):
    """MLflow does, while it is imported."""
    write_params(place)
    code = "import pwd; pwd.getpwuid = {}.__getitem__; from srgan.commands.main import main; main(['promote', '--dry-run'])"
    env = {key: value for key, value in environment().items() if key != "HOME"}
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("this user has no home folder, which a library needs; set HOME to a folder that may be written\n")


def test_addresses_of_archives_and_images(served):
    folder, address = served
    write_zip(folder / "more.zip", ["x.png", "y.png"])
    (folder / "one.png").write_bytes(png(7))
    (folder / "two.png").write_bytes(png(8))
    archive, images = choose((f"{address}/one.png", f"{address}/more.zip?raw=1", f"{address}/two.png"), "train")
    assert (archive.name, images.name) == ("more", "images")
    assert names(fetch(archive, "train", folder.parent / "a")) == ["x.png", "y.png"]
    assert names(fetch(images, "train", folder.parent / "b")) == ["one.png", "two.png"]


def test_the_stage_brings_all_of_it(place):
    photos = place / "photos"
    photos.mkdir()
    for number in range(4):
        (photos / f"{number}.png").write_bytes(png(number))
    write_params(place, {"data.train": ["./photos"], "data.test": ["sample"]})
    run("srgan", "download", cwd=place)
    listed = json.loads((place / "data/raw/manifest.json").read_text())["images"]
    assert [image["path"] for image in listed if image["set"] == "photos"] == [f"train/photos/{number}.png" for number in range(4)]
    assert not (place / "checksums.json").exists()  # one's own files are one's own business; sample's checksums are known
    write_params(place, {"data.train": ["./photos"], "data.test": ["./photos"]})
    done = run("srgan", "download", cwd=place, check=False)
    assert done.returncode == 1
    assert "photos is in train and test, and has no folders train and test" in done.stderr
    assert (place / "data/raw/manifest.json").exists()  # the former result
    assert [path.name for path in (place / "data").iterdir()] == ["raw"]
