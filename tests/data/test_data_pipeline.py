"""Sources and batches: what is skipped, what is repeated, and what depends on what."""

from __future__ import annotations

import io
import itertools
import sys
import types

import numpy as np
import pytest
from PIL import Image

from metastyle_jax.data import pipeline, sources, tfds_source
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.procedural import drawn_source
from metastyle_jax.errors import UserError


class Plain:
    """Source of plain images whose value is (index + 1) / 255."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> np.ndarray:
        return np.full((9, 12, 3), index + 1, np.uint8)


class Ramps:
    """Source of float images that rise from left to right, so that crops and flips show."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> np.ndarray:
        line = np.linspace(0.1 * index, 0.1 * index + 0.3, 24, dtype=np.float32)
        return np.broadcast_to(line[None, :, None], (20, 24, 3))


def make(content_source=None, style_source=None, **changes):
    size, reading = changes.pop("image_size", 8), {"threads": 2}
    reading |= {name: changes.pop(name) for name in ("threads", "prefetch") if name in changes}
    flips = [changes.pop(f"flip_{kind}", True) for kind in ("contents", "styles")]
    order = {"seed": 0} | {k: changes.pop(k) for k in ("seed", "start_step") if k in changes}
    return pipeline.batches(
        content_source or Plain(10),
        style_source or Plain(4),
        **({"styles": 2, "contents": 3} | changes),
        content_crop=pipeline.Crop(size, flip=flips[0]),
        style_crop=pipeline.Crop(size, flip=flips[1]),
        order=pipeline.Order(**order),
        reading=pipeline.Reading(**reading),
    )


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def indices(batch: np.ndarray) -> list[int]:
    """Which elements of `Plain` the images of a batch came from."""
    return [int(value) - 1 for value in np.rint(batch[:, 0, 0, 0] * 255)]


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for name, images in vars(one).items():
            np.testing.assert_array_equal(images, getattr(other, name))


def test_shapes_types_and_range():
    (batch,) = take(make(), 1)
    assert {name: value.shape for name, value in vars(batch).items()} == {
        "styles": (2, 8, 8, 3),
        "support": (3, 8, 8, 3),
        "query": (3, 8, 8, 3),
    }
    for value in vars(batch).values():
        assert value.dtype == np.float32 and value.min() >= 0.0 and value.max() <= 1.0
        assert value.flags.writeable


def test_batch_depends_on_seed_and_step_only():
    reference = take(make(Ramps(), Ramps()), 9)
    assert_same(take(make(Ramps(), Ramps(), threads=0), 9), reference)
    assert_same(take(make(Ramps(), Ramps(), threads=5, prefetch=1), 9), reference)
    for start in (1, 4, 8):
        resumed = take(make(Ramps(), Ramps(), start_step=start), 9 - start)
        assert_same(resumed, reference[start:])
    other = take(make(Ramps(), Ramps(), seed=1), 1)[0]
    assert not np.array_equal(other.support, reference[0].support)


@pytest.mark.parametrize("start", [0, 5])
def test_processes_read_their_shares_of_the_same_batches(start):
    """Whoever reads a style of a batch gets the same crop, and reads no other."""
    whole = take(make(Ramps(), Ramps(), styles=4, start_step=start), 6)
    for shares in (((0, 1), (0, 3)), ((1, 3), (1, 2)), ((0, 4), (0, 3))):
        read = []

        class Watched(Ramps):
            def __getitem__(self, index: int, read=read) -> np.ndarray:
                read.append(index)
                return super().__getitem__(index)

        part = make(Ramps(), Watched(), styles=4, shares=shares, start_step=start, threads=0)
        of_styles, of_contents = (slice(first, first + count) for first, count in shares)
        for mine, batch in zip(take(part, 6), whole, strict=True):
            np.testing.assert_array_equal(mine.styles, batch.styles[of_styles])
            np.testing.assert_array_equal(mine.support, batch.support[of_contents])
            np.testing.assert_array_equal(mine.query, batch.query[of_contents])
        assert len(read) == 6 * shares[0][1]


def test_start_far_into_training_is_immediate():
    (batch,) = take(make(start_step=10_000_000), 1)
    assert batch.query.shape == (3, 8, 8, 3)


def test_every_image_once_per_epoch_in_changing_order():
    runs = take(make(Plain(12)), 12)
    for name in ("support", "query"):
        seen = [index for batch in runs for index in indices(getattr(batch, name))]
        epochs = [seen[start : start + 12] for start in (0, 12, 24)]
        assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
        assert epochs[0] != epochs[1] != epochs[2]


def test_support_and_query_are_independent():
    """No epoch of one stream repeats an epoch of the other, also for neighboring seeds."""
    orders = []
    for seed in (0, 1, 2):
        runs = take(make(Plain(12), seed=seed, threads=0), 12)
        for name in ("support", "query"):
            seen = [index for batch in runs for index in indices(getattr(batch, name))]
            orders += [tuple(seen[start : start + 12]) for start in (0, 12, 24)]
    assert len(set(orders)) == len(orders)


def test_flips_can_be_turned_off():
    def rising(batch_list, name):
        images = np.concatenate([getattr(batch, name) for batch in batch_list])
        return images[:, 0, -1, 0] > images[:, 0, 0, 0]

    plain = take(make(Ramps(), Ramps(), flip_contents=False, flip_styles=False, threads=0), 30)
    assert all(rising(plain, name).all() for name in ("styles", "support", "query"))
    flipped = take(make(Ramps(), Ramps(), flip_styles=False, threads=0), 30)
    assert rising(flipped, "styles").all()
    assert 0.3 < rising(flipped, "support").mean() < 0.7


def test_views_are_different_crops_of_one_image():
    def views(count: int) -> np.ndarray:
        stream = pipeline.crops(
            Ramps(),
            pipeline.Crop(8, max_scale=2),
            count=3,
            order=pipeline.Order(0),
            views=count,
            reading=pipeline.Reading(threads=0),
        )
        return next(stream)

    one, three = views(1), views(3).reshape(3, 3, 8, 8, 3)
    np.testing.assert_array_equal(three[:, 0], one)  # the first view is that of a single one
    for crops in three:
        assert not np.array_equal(crops[0], crops[1])
        # the ramps of different images begin 0.1 apart and rise by 0.3
        assert np.ptp(crops.mean(axis=(1, 2, 3))) < 0.2


def test_sources_of_one_image_and_one_pixel():
    class Dot(Plain):
        def __getitem__(self, index):
            return np.full((1, 1, 3), 51, np.uint8)

    for batch in take(make(Dot(1), Dot(1)), 3):
        for value in vars(batch).values():
            np.testing.assert_allclose(value, 0.2, atol=1e-6)


def test_bad_numbers_are_refused_at_once():
    for change in ({"image_size": 0}, {"styles": 0}, {"start_step": -1}, {"seed": -1}):
        with pytest.raises(ValueError, match="positive"):
            make(**change)


def save(path, value: int, size=(12, 10)):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.fixture
def folder(tmp_path):
    """Sound files a, c, d, f; b and e truncated, the others no images by their header."""
    for index, name in enumerate("abcdef"):
        pixels = np.random.default_rng(index).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    cut(tmp_path / "b.png")
    cut(tmp_path / "e.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    return tmp_path


def test_folder_replaces_broken_files_by_the_next_sound_one(folder):
    source = FolderSource(folder, "content folder")
    assert len(source) == 6
    assert {path.name for path in source.skipped} == {"empty.jpg", "text.jpg"}
    backward = [source[index] for index in reversed(range(6))][::-1]
    forward = [FolderSource(folder, "content folder")[index] for index in range(6)]
    for index, name in enumerate("accdff"):
        expected = np.asarray(Image.open(folder / f"{name}.png"))
        np.testing.assert_array_equal(forward[index], expected)
        np.testing.assert_array_equal(backward[index], expected)
    assert {path.name for path in source.skipped} == {"b.png", "e.png", "empty.jpg", "text.jpg"}
    report = source.report()
    assert report.startswith(f"skipped 4 of 8 files in {folder}: b.png (")
    assert "text.jpg (this is not an image" in report and "\n" not in report
    with pytest.raises(IndexError):
        source[6]


def test_folder_wraps_round(folder):
    cut(folder / "f.png")
    last = FolderSource(folder, "content folder")[5]
    np.testing.assert_array_equal(last, np.asarray(Image.open(folder / "a.png")))


def test_one_file_is_a_source_of_one_picture(folder):
    source = FolderSource(folder / "a.png", "style folder")
    assert len(source) == 1 and source.fingerprint().startswith("1 files ")
    np.testing.assert_array_equal(source[0], np.asarray(Image.open(folder / "a.png")))
    assert source.report() == f"all 1 files in {folder} are usable so far"


def test_report_is_short_for_many_files(tmp_path):
    save(tmp_path / "good.png", 9)
    for index in range(9):
        (tmp_path / f"bad{index}.png").touch()
    source = FolderSource(tmp_path, "style folder")
    assert len(source.skipped) == 9
    assert source.report().endswith("bad4.png (the file is empty) and 4 more")


def test_folder_without_usable_images(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match="none of the 1 images in the style folder"):
        FolderSource(tmp_path, "style folder")


def test_all_truncated_is_one_error_also_through_threads(tmp_path):
    for name in "ab":
        pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        cut(tmp_path / f"{name}.png")
    source = FolderSource(tmp_path, "content folder")
    with pytest.raises(UserError, match="none of the 2 images in the content folder"):
        source[0]
    for threads in (0, 2):
        with pytest.raises(UserError, match="none of the 2 images"):
            next(make(source, threads=threads))


def test_folder_through_the_pipeline_is_deterministic(folder):
    def run():
        source = FolderSource(folder, "content folder", short_side=16)
        return take(make(source, source, threads=4), 5)

    assert_same(run(), run())


def test_procedural_sources_feed_the_pipeline():
    contents = sources.open_source("procedural:3", "content", image_size=16)
    styles = sources.open_source("procedural:2", "style", image_size=16)
    assert len(contents) == 3 and contents[0].shape == (20, 20, 3)
    np.testing.assert_array_equal(styles[1], drawn_source.style_image(1, 20))
    (batch,) = take(make(contents, styles, image_size=16), 1)
    assert batch.styles.std() > 0.01
    for setting in ("procedural:", "procedural:0", "procedural:x"):
        with pytest.raises(UserError, match="procedural"):
            sources.open_source(setting, "content", image_size=16)


def test_open_source_opens_folders(tmp_path):
    save(tmp_path / "a.png", 7)
    assert len(sources.open_source(str(tmp_path), "style", image_size=16)) == 1
    with pytest.raises(UserError, match="style folder"):
        sources.open_source(str(tmp_path / "gone"), "style", image_size=16)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("tfds:mnist:train", ("mnist", "train")),
        ("tfds:coco/2017:train[:80%]", ("coco/2017", "train[:80%]")),
        ("tfds:coco/2017:1.1.0:train+test", ("coco/2017:1.1.0", "train+test")),
    ],
)
def test_tfds_settings(setting, expected):
    assert tfds_source.parse_setting(setting) == expected


@pytest.mark.parametrize("setting", ["tfds:", "tfds:mnist", "tfds:mnist:", "tfds::train"])
def test_bad_tfds_settings(setting):
    with pytest.raises(UserError, match="tfds:NAME:SPLIT"):
        tfds_source.parse_setting(setting)


def jpeg_bytes(value: int, **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 8), (value,) * 3).save(file, "JPEG", **options)
    return file.getvalue()


def fake_tfds(data_source):
    decode = types.SimpleNamespace(SkipDecoding=lambda: "skip")
    return types.SimpleNamespace(data_source=data_source, decode=decode)


def test_tfds_decodes_with_our_own_reader(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    records = [{"image": jpeg_bytes(51, exif=exif)}, {"image": b"broken"}]
    calls = []

    def data_source(name, **options):
        calls.append((name, options))
        return records

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake_tfds(data_source))
    source = sources.open_source("tfds:coco/2017:train", "content", image_size=8, data_dir="/data")
    assert calls[0][0] == "coco/2017"
    assert calls[0][1]["download"] is False and calls[0][1]["data_dir"] == "/data"
    assert len(source) == 2 and source[0].shape == (12, 8, 3)
    np.testing.assert_allclose(source[0], 0.2, atol=0.01)
    with pytest.raises(UserError, match="tfds:coco/2017:train #1"):
        source[1]


def test_tfds_without_images(monkeypatch):
    for records, words in (([{"text": b"a"}], "no feature 'image'"), ([], "no examples")):
        fake = fake_tfds(lambda name, records=records, **_: records)
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
        with pytest.raises(UserError, match=words):
            tfds_source.tfds_source("lm1b", "train")


def test_tfds_really(tmp_path):
    """The installed TFDS: a data set written here as array_record, and three wrong requests."""
    tfds = pytest.importorskip("tensorflow_datasets")
    tfds.disable_progress_bar()

    class FivePictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        # Without it, TFDS looks for metadata beside this test file.
        pkg_dir_path = tmp_path

        def _info(self):
            picture = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
            features = tfds.features.FeaturesDict({"image": picture})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, _):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index in range(5):
                yield index, {"image": io.BytesIO(jpeg_bytes(51 * index))}

    FivePictures(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    source = tfds_source.tfds_source("five_pictures", "train", tmp_path)
    values = sorted(round(float(source[index].mean()) * 5) for index in range(len(source)))
    assert values == [0, 1, 2, 3, 4]
    (batch,) = take(make(source, source), 1)
    assert batch.styles.shape == (2, 8, 8, 3)
    for name, split in (("five_pictures", "tset"), ("no_such_thing", "train"), ("mnist", "train")):
        with pytest.raises(UserError, match=name) as error:
            tfds_source.tfds_source(name, split, tmp_path)
        assert "\n" not in str(error.value) and "array_record" in str(error.value)
