"""The starter's training set: deterministic, honest in its words, and blind to what is held out."""

import json
from collections import Counter
from dataclasses import replace
from importlib import resources
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import pytest

from greenroom.ml.starter import characters, data, parts, places
from greenroom.ml.starter.captions import EXPRESSIONS, PLACES
from greenroom.ml.starter.data import (
    NARROW,
    STYLES,
    Attributes,
    Scene,
    caption,
    draw_one,
    expressions_of,
    is_held_out,
    is_held_out_pair,
    render,
    sample_identity,
    sample_scene,
    sample_set,
)

CRITTER = Attributes(
    style="critters",
    kind="critter",
    body_colour="purple",
    top="horns",
    top_colour="yellow",
    eyes="one eye",
    expression="laughing",
    place="beach",
)
WOMAN = Attributes(
    style="adventurer",
    kind="woman",
    hair="long hair",
    hair_colour="purple",
    skin="dark skin",
    eyewear="round glasses",
    clothes="hoodie",
    clothes_colour="orange",
    expression="happy",
    place="plain:orange",
)


def _scene(expression: str, place: str = "plain:grey") -> Scene:
    return Scene(expression=expression, place=place, place_seed=1, flip=False, angle_deg=0, scale=1, shift=0)


@pytest.mark.parametrize("name", STYLES)
def test_licences_are_those_the_package_states(name: str) -> None:
    definition = json.loads((resources.files("dicebear_styles") / f"{name}.json").read_text("utf-8"))
    assert definition["meta"]["license"]["name"] == STYLES[name].licence
    assert STYLES[name].licence in ("CC0 1.0", "CC BY 4.0")


@pytest.mark.parametrize("name", STYLES)
def test_every_variant_of_every_style_exists_and_renders(name: str) -> None:
    style = STYLES[name]
    rng = Random(name)
    wanted = {(part, word) for part, facts in style.parts.items() for word in facts.words if word}
    seen: set[tuple[str, str]] = set()
    for _ in range(400):
        identity = characters._any_identity(rng, style)
        fresh = (wanted & set(identity.words.items())) - seen
        if fresh:
            seen |= fresh
            render(identity, _scene(rng.choice(expressions_of(identity))), 32)
    assert seen == wanted


@pytest.mark.parametrize("name", STYLES)
def test_every_expression_is_a_visibly_different_face(name: str) -> None:
    rng = Random(7)
    identity = sample_identity(rng, (name,))
    while len(expressions_of(identity)) < len(STYLES[name].expressions):
        identity = sample_identity(rng, (name,))
    faces = {word: render(identity, _scene(word), 128).astype(int) for word in expressions_of(identity)}
    for (one, first), (two, second) in combinations(faces.items(), 2):
        changed = np.abs(first - second).max(axis=2) > 48
        assert changed.sum() >= 20, f"{one} and {two} look alike in {name}"


def test_each_style_says_several_moods_and_has_words_for_them() -> None:
    for style in STYLES.values():
        assert len(style.expressions) >= 8
        assert set(style.expressions) <= set(EXPRESSIONS)
        assert {face for limit in style.limits.values() for face in limit} <= set(style.expressions)
    assert set(places.SCENES) == set(PLACES)


def test_the_same_seed_gives_the_same_bytes_and_captions(tmp_path: Path) -> None:
    first = data.write_shard(tmp_path / "a", 3, count=8, seed=5, size_px=32)
    second = data.write_shard(tmp_path / "b", 3, count=8, seed=5, size_px=32, processes=2)
    assert first.read_bytes() == second.read_bytes()
    lines = first.with_suffix(".jsonl")
    assert lines.read_bytes() == second.with_suffix(".jsonl").read_bytes()
    described = data.read_attributes(lines)
    assert [caption(a, Random(1)) for a in described] == [caption(a, Random(1)) for a in described]
    other = data.write_shard(tmp_path / "c", 4, count=8, seed=5, size_px=32)
    assert other.read_bytes() != first.read_bytes()


def test_a_shard_holds_its_pictures_and_leaves_no_staged_file(tmp_path: Path) -> None:
    path = data.write_shard(tmp_path, 0, count=4, size_px=32)
    pictures = np.load(path, mmap_mode="r")
    assert pictures.shape == (4, 32, 32, 3)
    assert pictures.dtype == np.uint8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shard-0000.jsonl", "shard-0000.npy"]
    identity, scene = draw_one(0, 0, 2)
    assert (pictures[2] == render(identity, scene, 32)).all()
    assert data.read_attributes(path.with_suffix(".jsonl"))[2] == data.attributes(identity, scene)


def test_nothing_held_out_is_ever_drawn_for_training() -> None:
    for index in range(3000):
        identity, scene = draw_one(0, 0, index, tuple(STYLES))
        assert not is_held_out(identity)
        assert not is_held_out_pair(scene.expression, scene.place)
        assert scene.expression in expressions_of(identity)


@pytest.mark.parametrize("name", STYLES)
def test_about_one_character_in_twelve_is_held_out(name: str) -> None:
    rng = Random(1)
    share = np.mean([is_held_out(characters._any_identity(rng, STYLES[name])) for _ in range(2000)])
    assert 0.02 < share < 0.2
    assert is_held_out(sample_identity(rng, (name,), held_out=True))


def test_held_out_pairs_leave_every_face_and_every_scene_to_learn_from() -> None:
    for expression in EXPRESSIONS:
        assert sum(is_held_out_pair(expression, place) for place in places.SCENES) <= 4
    for place in places.SCENES:
        assert sum(is_held_out_pair(expression, place) for expression in EXPRESSIONS) <= 4
    assert any(is_held_out_pair(e, p) for e in EXPRESSIONS for p in places.SCENES)


def test_places_are_half_scenes_a_third_plain_and_the_rest_patterned() -> None:
    kinds: Counter[str] = Counter()
    for index in range(2000):
        kind, *_ = draw_one(1, 0, index)[1].place.split(":")
        kinds["scene" if kind in places.SCENES else "plain" if kind == "plain" else "pattern"] += 1
    assert 0.45 < kinds["scene"] / 2000 < 0.55
    assert 0.30 < kinds["plain"] / 2000 < 0.40
    assert 0.11 < kinds["pattern"] / 2000 < 0.19


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("angle_deg", [-5, 5])
def test_no_character_floats(name: str, angle_deg: float) -> None:
    """The lower edge shows the character, however it is turned and shrunk, all the way across its foot."""
    rng = Random(3)
    for _ in range(6):
        identity = sample_identity(rng, (name,))
        green, purple = (
            render(identity, replace(_scene("happy", place), angle_deg=angle_deg, scale=0.85), 128)
            for place in ("plain:green", "plain:purple")
        )
        covered = (green == purple).all(axis=2)  # whatever is behind
        foot = np.flatnonzero(covered[127])
        assert foot.size >= 35
        if "long" not in identity.words.get(
            "hair", ""
        ):  # locks hang beside the body and may end above the edge
            assert foot.size == foot[-1] - foot[0] + 1, "the place shows through under the character"
            assert foot.size >= 0.8 * covered[118].sum()


def test_captions_say_what_the_picture_shows() -> None:
    texts = [caption(CRITTER, Random(i)) for i in range(600)]
    told = [t for t in texts if t]
    assert all("purple" in t for t in told)
    assert all(any(noun in t for noun in ("critter", "creature", "monster")) for t in told)
    assert 0.65 < np.mean(["yellow horns" in t for t in told]) < 0.85
    assert 0.65 < np.mean(["one eye" in t for t in told]) < 0.85
    assert 0.78 < np.mean(["laughing" in t for t in told]) < 0.92
    assert 0.78 < np.mean([any(w in t for w in ("beach", "sea")) for t in told]) < 0.92
    for wrong in ("red", "sad", "forest", "hair", "None", "plain:"):
        assert not any(wrong in t.split() for t in told)


def test_captions_are_english() -> None:
    texts = [caption(WOMAN, Random(i)) for i in range(600)]
    assert any("an orange hoodie" in t for t in texts)
    assert any("on an orange background" in t for t in texts)
    assert any("long purple hair" in t for t in texts)
    assert not any(" a orange" in t or "  " in t or ",," in t or t.endswith(",") for t in texts)
    assert np.mean([len(t.split()) <= 24 for t in texts]) > 0.9
    assert len(set(texts)) > 400


def test_a_tenth_of_the_captions_is_empty() -> None:
    rng = Random(0)
    assert 0.085 < np.mean([caption(CRITTER, rng) == "" for _ in range(5000)]) < 0.115


def test_names_stand_before_the_noun_in_three_captions_of_ten() -> None:
    rng = Random(0)
    named, told = 0, 0
    for _ in range(3000):
        text = caption(CRITTER, rng)
        if not text:
            continue
        told += 1
        noun = min(text.index(n) for n in ("critter", "creature", "monster") if n in text)
        head, comma, _ = text[:noun].partition(", ")
        if comma:
            named += 1
            assert " " not in head.removeprefix("a flat drawing of ").removeprefix(
                "a cute drawing of "
            ).removeprefix("a cartoon of ")
    assert 0.26 < named / told < 0.34


def test_colours_never_stand_for_what_is_not_there() -> None:
    rng = Random(4)
    for _ in range(3000):
        words = characters._any_identity(rng, STYLES[rng.choice(tuple(STYLES))]).words
        assert "top" in words or "top_colour" not in words
        assert words.get("hair") != "a bald head" or "hair_colour" not in words
        assert words.get("top_colour") is None or words["top_colour"] != words["body_colour"]


def test_beards_are_on_men_only_and_long_hair_makes_a_woman() -> None:
    rng = Random(4)
    for _ in range(3000):
        identity = characters._any_identity(rng, STYLES[rng.choice(NARROW)])
        assert "beard" not in identity.words or identity.kind == "man"
        assert identity.words.get("hair") not in parts.LONG_HAIR or identity.kind == "woman"


def test_hair_is_drawn_in_the_colour_named() -> None:
    rng = Random(8)
    for colour in ("red", "green", "blue", "purple"):
        identity = sample_identity(rng, ("toon-head",))
        while identity.words["hair_colour"] != colour or "headwear" in identity.words:
            identity = sample_identity(rng, ("toon-head",))
        pixels = render(identity, _scene("neutral"), 128)
        hue = parts.HAIR_COLOURS[colour]
        wanted = np.array([int(hue[i : i + 2], 16) for i in (1, 3, 5)])
        near = np.abs(pixels.astype(int) - wanted).max(axis=2) < 8
        assert near.mean() > 0.02


def test_one_characters_set_shows_one_character_in_many_scenes() -> None:
    rng = Random(2)
    identity = sample_identity(rng, ("critters",), held_out=True)
    pairs = sample_set(identity, 6, seed=1)
    assert len(pairs) == 6
    assert all(text and picture.shape == (256, 256, 3) for picture, text in pairs)
    assert all(identity.words["body_colour"] in text for _, text in pairs)
    assert len({picture.tobytes() for picture, _ in pairs}) == 6
    again = sample_set(identity, 6, seed=1)
    assert [t for _, t in pairs] == [t for _, t in again]


def test_scenes_can_be_asked_from_the_held_out_side() -> None:
    rng = Random(2)
    identity = sample_identity(rng, ("adventurer",))
    scene = sample_scene(rng, identity, held_out=True)
    assert is_held_out_pair(scene.expression, scene.place)


def test_the_command_writes_a_sheet_and_refuses_an_unknown_style(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data.main(["--sheet", str(tmp_path / "sheet.png"), "--styles", "critters,clay"]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    with pytest.raises(SystemExit):
        data.main(["--styles", "avataaars"])
    assert "avataaars" in capsys.readouterr().err


def test_a_steady_scene_differs_from_another_in_face_and_place_only() -> None:
    framings = set()
    for index in range(40):
        _, scene = data.draw_one(3, 0, index, steady=True)
        framings.add((scene.flip, scene.angle_deg, scene.scale, scene.shift))
        _, free = data.draw_one(3, 0, index)
        assert (scene.expression, scene.place, scene.place_seed) == (
            free.expression,
            free.place,
            free.place_seed,
        )
    assert framings == {(False, 0.0, 1.0, 0.0)}
