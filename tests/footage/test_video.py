"""Videos and folders of images: order, turning, damage, and writing."""

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import av
import numpy as np
import pytest
from PIL import Image

from vergence.errors import VergenceError
from vergence.footage import video as video_module
from vergence.footage.images import ImageFolder, natural_key
from vergence.footage.video import VideoWriter, join_videos, open_video

HEIGHT, WIDTH, GREY_STEP = 48, 80, 8
RED, GREEN, BLUE = (250, 20, 20), (20, 250, 20), (20, 20, 250)


def image(number: int) -> np.ndarray:
    """Red, green, blue quarters, and a fourth whose grey tells the frame's number."""
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    out[: HEIGHT // 2, : WIDTH // 2] = RED
    out[: HEIGHT // 2, WIDTH // 2 :] = GREEN
    out[HEIGHT // 2 :, : WIDTH // 2] = BLUE
    out[HEIGHT // 2 :, WIDTH // 2 :] = number * GREY_STEP
    return out


def write(path: Path, count: int = 20, turn: tuple = (), options: dict | None = None, codec: str = "libx264") -> Path:
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 7
        if turn:
            stream.set_display_rotation(*turn)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(image(number), format="rgb24")
            frame.pts = number
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def number_of(shown: np.ndarray) -> int:
    return round(float(shown[-HEIGHT // 4, -WIDTH // 4].mean()) / GREY_STEP)


def corners(shown: np.ndarray) -> list[tuple[int, ...]]:
    """Colours of the four quarters, rounded to what was drawn."""
    height, width = shown.shape[:2]
    known = np.array([RED, GREEN, BLUE, (0, 0, 0)])
    spots = [shown[y, x] for y in (height // 4, -height // 4) for x in (width // 4, -width // 4)]
    return [tuple(known[np.abs(known - spot.astype(int)).sum(1).argmin()].tolist()) for spot in spots]


def test_reads_frames_in_order_and_at_random(tmp_path: Path) -> None:
    with open_video(write(tmp_path / "a.mp4")) as video:
        assert video.size == (WIDTH, HEIGHT)
        assert video.fps == pytest.approx(25)
        assert len(video) == 20
        assert [number_of(p) for _, p in video] == list(range(20))
        for index in (13, 3, 4, 19, 0, 12, 12):
            assert number_of(video[index]) == index
        assert [(i, number_of(p)) for i, p in video.frames(5, 9)] == [(5, 5), (6, 6), (7, 7), (8, 8)]
        with pytest.raises(VergenceError, match="frames 0 to 19"):
            video[20]


def test_a_file_is_opened_once_to_be_counted_and_once_to_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = write(tmp_path / "a.mp4"), []
    monkeypatch.setattr(av, "open", lambda *a, real=av.open, **k: (opened.append(a), real(*a, **k))[1])
    with open_video(path) as video:
        assert len(video) == 20
        assert len(opened) == 2
        assert number_of(video[0]) == 0
        assert number_of(video[19]) == 19
        assert number_of(video[2]) == 2


def test_frames_ahead_are_decoded_on_to_where_no_key_frame_lies_between(tmp_path: Path, monkeypatch) -> None:
    """Key frames are 0, 7, 14: from 2 to 6 seeking would lead back to 0, from 6 to 20 it leads on to 14."""
    monkeypatch.setattr("vergence.footage.video.DECODE_AHEAD_FRAMES", 1)
    video = open_video(write(tmp_path / "a.mp4", codec="mpeg4"))
    assert [video.key_before(index) for index in (0, 6, 7, 13, 14, 19)] == [0, 0, 7, 7, 14, 14]
    begun: list[int] = []
    real = video._decode_from
    monkeypatch.setattr(video, "_decode_from", lambda index: begun.append(index) or real(index))
    assert [number_of(video[index]) for index in (2, 6, 19, 15, 16)] == [2, 6, 19, 15, 16]
    assert begun == [2, 19, 15]


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_other_containers(tmp_path: Path, suffix: str) -> None:
    with open_video(write(tmp_path / f"a{suffix}", codec="mpeg4")) as video:
        assert len(video) == 20
        assert [number_of(video[i]) for i in (7, 2, 19)] == [7, 2, 19]


def plainly_decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("fragmented.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mkv", "libx264", {}),
        ("a.ts", "libx264", {}),
        ("a.mts", "libx264", {"mpegts_m2ts_mode": "1"}),
        ("b.ts", "mpeg2video", {}),
        ("a.mpg", "mpeg2video", {}),
        ("a.avi", "libx264", {}),
        ("b.avi", "mpeg4", {}),
        ("a.flv", "libx264", {}),
    ],
)
@pytest.mark.parametrize("open_gop", [False, True])
def test_random_access_is_plain_decoding_frame_for_frame(tmp_path, name, codec, options, open_gop) -> None:
    """B-frames, open and closed groups: PyAV from the first packet to the last is the reference."""
    kind = {"format": "mpegts"} if name.endswith(".mts") else {}
    with av.open(str(tmp_path / name), "w", options=options, **kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 7, 2
        stream.options = {"x264-params": "open-gop=1"} if open_gop and codec == "libx264" else {}
        for number in range(80):
            frame = av.VideoFrame.from_ndarray(image(number % 30), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    expected = plainly_decoded(tmp_path / name)
    with open_video(tmp_path / name) as video:
        assert len(video) == len(expected) == 80
        found = list(video)
        assert [i for i, _ in found] == list(range(80))
        assert all(np.array_equal(a, b) for (_, a), b in zip(found, expected))
        for index in [79, 3, 40, 41, 0, 70, 70, 7, 6, 8, 55, 20]:
            assert np.array_equal(video[index], expected[index]), index
        assert all(np.array_equal(a, expected[i]) for i, a in video.frames(33, 47))
        assert video.notes == []


def test_frames_that_an_edit_list_hides_are_not_missed(tmp_path: Path) -> None:
    write(tmp_path / "whole.mp4")
    with av.open(str(tmp_path / "whole.mp4")) as whole, av.open(str(tmp_path / "cut.mp4"), "w") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - 3 * 512, packet.dts - 3 * 512, stream
                cut.mux(packet)
    expected = plainly_decoded(tmp_path / "cut.mp4")
    assert len(expected) == 17
    with open_video(tmp_path / "cut.mp4") as video:
        assert [number_of(p) for _, p in video] == list(range(3, 20))
        assert video.notes == []


def test_the_film_is_read_and_not_its_cover(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        cover, film = container.add_stream("mjpeg", rate=1), container.add_stream("libx264", rate=25)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        film.width, film.height, film.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        for number in range(20):
            container.mux(film.encode(av.VideoFrame.from_ndarray(image(number), format="rgb24")))
        container.mux(film.encode(None))
        container.mux(cover.encode(None))
    with open_video(tmp_path / "a.mkv") as video:
        assert [number_of(p) for _, p in video] == list(range(20))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_videos_are_shown_upright(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    """The reference is NumPy's own quarter turn, then a mirror, of what was drawn."""
    expected = np.rot90(image(0), degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    with open_video(write(tmp_path / "a.mp4", 2, (degrees, mirrored))) as video:
        assert video.size == expected.shape[1::-1]
        assert video[0].shape == expected.shape
        assert corners(video[0]) == corners(expected)


def test_unfinished_video_is_one_error(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VergenceError, match=r"b\.mp4 cannot be opened as a video"):
        open_video(tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_text("not a video")
    with pytest.raises(VergenceError, match="cannot be opened"):
        open_video(tmp_path / "c.mp4")
    with pytest.raises(VergenceError, match="there is no video"):
        open_video(tmp_path / "missing.mp4")


def test_cut_off_video_keeps_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mp4", options={"movflags": "faststart"}).read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[:-400])
    with open_video(tmp_path / "b.mp4") as video:
        found = [(i, number_of(p)) for i, p in video]
        assert 0 < len(found) < 20
        assert all(index == number for index, number in found)
        assert any("cut off" in note and "of 20 frames" in note for note in video.notes)


def test_damaged_frames_leave_gaps_and_move_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 20, codec="mpeg4")
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    position, size = packets[8]
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    with open_video(path) as video:
        found = [(i, number_of(p)) for i, p in video if i < 8 or i >= 14]
        assert found == [(i, i) for i in [*range(8), *range(14, 20)]]
        assert number_of(video[19]) == 19


def test_folder_of_images(tmp_path: Path) -> None:
    for number in (0, 1, 2, 10, 11):
        Image.fromarray(image(number)).save(tmp_path / f"img{number}.png")
    video = open_video(tmp_path)
    assert isinstance(video, ImageFolder)
    assert len(video) == 5
    assert [number_of(p) for _, p in video] == [0, 1, 2, 10, 11]
    Image.fromarray(image(3)[:-2]).save(tmp_path / "img12.png")
    with pytest.raises(VergenceError, match=r"img12\.png is 80 x 46 but .* 80 x 48"):
        open_video(tmp_path)[5]
    (tmp_path / "img13.png").write_bytes(b"broken")
    with pytest.raises(VergenceError, match="cannot be read as an image"):
        open_video(tmp_path)[6]


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    saved = Image.fromarray(image(0))
    exif = saved.getexif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    saved.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    video = open_video(tmp_path)
    assert video.size == (HEIGHT, WIDTH)
    assert corners(video[0]) == corners(np.rot90(image(0), -1))


def test_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VergenceError, match="holds no images"):
        open_video(tmp_path)


def test_natural_order() -> None:
    assert sorted(["f10", "f9", "f1", "F2"], key=natural_key) == ["f1", "F2", "f9", "f10"]


def test_writer_round_trip(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "new" / "a.mp4", fps=29.97) as writer:
        for number in range(5):
            writer.write(image(number)[:-1, :-1])  # odd sides lose a row and a column
    with open_video(tmp_path / "new" / "a.mp4") as video:
        assert video.size == (WIDTH - 2, HEIGHT - 2)
        assert video.fps == pytest.approx(29.97, abs=0.01)
        assert [number_of(p) for _, p in video] == list(range(5))


def test_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "a.mp4", fps=25) as writer:  # noqa: PT012
        writer.write(image(0))
        raise ZeroDivisionError
    with pytest.raises(VergenceError, match="no image was given"), VideoWriter(tmp_path / "a.mp4", fps=25):
        pass
    with pytest.raises(VergenceError, match="cannot join"), VideoWriter(tmp_path / "a.mp4", fps=25) as writer:  # noqa: PT012
        writer.write(image(0))
        writer.write(image(0)[:-4])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VergenceError, match="frames per second"):
        VideoWriter(tmp_path / "a.mp4", fps=0)


def test_pieces_are_joined_frame_for_frame(tmp_path: Path) -> None:
    number, parts = 0, []
    for count in (7, 1, 40):
        parts.append(tmp_path / f"{len(parts)}.mp4")
        with VideoWriter(parts[-1], 29.97) as video:
            for _ in range(count):
                video.write(np.full((48, 64, 3), 5 * number, np.uint8))
                number += 1
    join_videos(parts, tmp_path / "whole.mp4")
    with open_video(tmp_path / "whole.mp4") as video:
        assert (len(video), video.fps) == (48, pytest.approx(29.97))
        assert [round(image.mean() / 5) for _, image in video] == list(range(48))
        np.testing.assert_allclose(video.times, np.arange(48) / 29.97, atol=1e-3)


def test_an_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 40, 3), 7, np.uint8)).save(tmp_path / "a.png")
    with open_video(tmp_path / "a.png") as video:
        assert (len(video), video.size, video[0].max()) == (1, (40, 30), 7)
        assert [i for i, _ in video] == [0]
        assert list(video.frames(1)) == []


@pytest.mark.parametrize(
    ("stamps", "packets", "kept", "noted"),
    [
        ([0, 1, 3], 3, [0, 1, 3], False),
        ([0, None, 3], 3, [], False),
        ([0, 3, 1], 3, [], False),
        ([0, 0, 1], 3, [], False),
        ([0, 1, 3], 4, [0, 1, 3], True),
        ([0, 1, 3], 6, [0, 1, 3], False),  # two fields of each frame
        ([0, 1, 3], 5, [0, 1, 3], False),  # of which one is missing
    ],
)
def test_frames_that_must_be_decoded_to_be_counted(tmp_path: Path, stamps, packets: int, kept, noted: bool) -> None:
    with open_video(write(tmp_path / "a.mp4")) as video:
        video._count, video.notes = packets, []
        video._decoded_anew = lambda: iter([SimpleNamespace(pts=stamp) for stamp in stamps])
        assert video._counted() == kept
        assert video._count == 3
        assert [f"{packets} packets hold 3 frames" in note for note in video.notes] == [True] * noted


def packets_of(
    video, monkeypatch: pytest.MonkeyPatch, stamps: list, declared: int = 0, name: str = "mov,mp4"
) -> list[int]:
    """The time stamps of a file that holds these packets: (stamp, whether a player discards it); None ends the reading."""
    packets = [SimpleNamespace(pts=pts, size=10, is_discard=hidden, is_keyframe=False) for pts, hidden in stamps]
    container, stream = MagicMock(), SimpleNamespace(frames=declared)
    container.demux.return_value = iter(
        [*packets, SimpleNamespace(pts=None, size=0, is_discard=False, is_keyframe=False)]
    )
    container.format.name = name
    monkeypatch.setattr(video_module, "_open_stream", lambda path: (container, stream))
    video.notes = []
    video_module._INDEXED.clear()
    del video.__dict__["_stamps"]
    return list(video._stamps)


def test_an_index_is_made_of_the_packets_that_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order of display; two packets of one moment, or one without a stamp, make no index, but are counted."""
    with open_video(write(tmp_path / "a.mp4")) as video:
        assert len(video) == 20
        shown = [(0, False), (3, False), (1, False), (2, True)]
        assert packets_of(video, monkeypatch, shown, 4) == [0, 1, 3]
        assert (len(video), video.notes) == (3, [])
        assert packets_of(video, monkeypatch, shown, 5) == [0, 1, 3]
        assert video.notes == ["a.mp4 is cut off: 3 of 5 frames can be read"]
        assert packets_of(video, monkeypatch, [*shown, (3, False)]) == []
        assert len(video) == 4
        assert packets_of(video, monkeypatch, [*shown, (None, False)]) == []
        assert len(video) == 4
        assert video.times is None


def test_stamps_of_other_containers_are_believed_where_the_first_frames_bear_them_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all frames are decoded and counted."""
    with open_video(write(tmp_path / "a.mp4")) as video:
        assert len(video) == 20
        for decoded, expected in (([1, 2, 5], [1, 2, 5, 7]), ([1, 5, 2], []), ([2, 3], [2, 3])):
            video._decoded_anew = lambda decoded=decoded: iter([SimpleNamespace(pts=stamp) for stamp in decoded])
            found = packets_of(video, monkeypatch, [(5, False), (1, False), (2, False), (7, False)], name="mpegts")
            assert found == expected
