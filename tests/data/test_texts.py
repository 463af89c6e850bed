"""Text rules, vocabulary and corpora."""

import functools
import hashlib
import io
import os
import time
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfrnn
from tfrnn.data import text_rules
from tfrnn.data.corpora import catalogue, fetch
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError

FETCHED = [name for name, corpus in catalogue.CORPORA.items() if corpus.builder]


def data_file(name):
    """The corpus's file in TFRNN_DATA_DIR; None where it is not at hand."""
    path = Path(os.environ.get(fetch.DATA_DIR) or ".") / fetch.recorded(catalogue.CORPORA[name].builder).file_name
    return path if fetch.DATA_DIR in os.environ and path.exists() else None


class TextRulesTest(parameterized.TestCase):
    TEXT = "I, the\t2nd\r\n\n  Émile -- Zed's\nend"

    @parameterized.parameters(
        ("book", "i the ndmile zed send"),
        ("lines", "i the nd mile zed s end"),
        ("spaces", "I, the\t2nd    Émile -- Zed's end"),
        ("raw", TEXT),
    )
    def test_each_rule(self, rule, expected):
        self.assertEqual(text_rules.clean(self.TEXT, rule), expected)

    def test_the_book_glues_characters_but_not_words(self):
        self.assertEqual(text_rules.clean("of him\nwas said", "book"), "of himwas said")
        self.assertEqual(text_rules.clean("of him\nwas said", "book", "word"), "of him was said")

    @parameterized.parameters("book", "lines", "spaces", "raw")
    def test_a_prefix_keeps_its_trailing_space(self, rule):
        self.assertEqual(text_rules.clean_prefix("so be it ", rule), "so be it ")
        self.assertEqual(text_rules.clean_prefix("so be it", rule), "so be it")

    def test_an_empty_prefix_is_named(self):
        with self.assertRaisesRegex(UserError, "'123'"):
            text_rules.clean_prefixes(["ok", "123"], "book")


class VocabularyTest(parameterized.TestCase):
    def test_order_is_by_frequency_then_first_appearance(self):
        self.assertEqual(Vocabulary.from_text("bab cc a").id_to_token, ["<unk>", "b", "a", " ", "c"])
        self.assertEqual(Vocabulary.from_text("to be or not to be", "word").id_to_token[1:], ["to", "be", "or", "not"])

    @parameterized.parameters("char", "word")
    def test_decode_inverts_encode_and_json_keeps_it(self, tokens):
        text = "so 日本 much\u0301 to say"
        vocabulary = Vocabulary.from_text(text, tokens)
        again = Vocabulary.from_json(vocabulary.to_json(), tokens)
        self.assertEqual(again.id_to_token, vocabulary.id_to_token)
        ids = again.encode(text)
        self.assertEqual(ids.dtype, np.int32)
        self.assertEqual(again.decode(ids), text)
        self.assertLen(vocabulary, len(set(text_rules.split(text, tokens))) + 1)

    def test_another_policy_is_refused(self):
        with self.assertRaisesRegex(UserError, "error, skip, unk"):
            Vocabulary.from_text("abc").encode("abc", unknown="ignore")

    def test_unknown_characters_are_named_marked_or_skipped(self):
        vocabulary = Vocabulary.from_text("abc")
        with self.assertRaisesRegex(UserError, "unknown characters 'é', '日' in 'aé日é'"):
            vocabulary.encode("aé日é")
        np.testing.assert_array_equal(vocabulary.encode("aéb", unknown="unk"), [1, 0, 2])
        np.testing.assert_array_equal(vocabulary.encode("aéb", unknown="skip"), [1, 2])

    @parameterized.parameters("{}", "[1]", "[", '["a"]', '["<unk>", "a", "a"]', "[]")
    def test_other_json_is_refused(self, text):
        with self.assertRaises(UserError):
            Vocabulary.from_json(text)


class CorporaTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_embedded_story(self):
        text = tfrnn.load_corpus("sample")
        self.assertGreater(len(text), 16_000)
        self.assertEqual(set(text), set("abcdefghijklmnopqrstuvwxyz "))
        self.assertNotIn("public domain", text)
        passages = [text[i : i + 40] for i in range(len(text) - 39)]
        self.assertLen(set(passages), len(passages))  # nothing is repeated
        for prefix in catalogue.CORPORA["sample"].prefixes:
            self.assertIn(prefix, text[:10_000])

    @parameterized.parameters(
        ("time_machine", 170_580, 28, 28, "the time machine by h g wellsithe time"),
        ("jay_lyrics", 63_282, 2_583, 1_028, "想要有直升机 想要和你飞到宇宙去"),
        ("tiny_shakespeare", 1_115_394, 66, 58, "First Citizen:\nBefore we proceed"),
    )
    def test_facts_of_the_fetched_corpora(self, name, characters, whole, of_first_10_000, beginning):
        if not data_file(name):
            self.skipTest(f"needs the file of {name} in {fetch.DATA_DIR}")
        text = tfrnn.load_corpus(name)
        self.assertLen(text, characters)
        self.assertLen(Vocabulary.from_text(text), whole)
        self.assertLen(Vocabulary.from_text(text[:10_000]), of_first_10_000)
        self.assertStartsWith(text, beginning)
        for prefix in catalogue.CORPORA[name].prefixes:
            Vocabulary.from_text(text[:10_000]).encode(prefix)

    @parameterized.parameters("time_machine", "jay_lyrics")
    def test_the_builder_gives_the_same_text(self, name):
        path = data_file(name)
        if not path:
            self.skipTest(f"needs the file of {name} in {fetch.DATA_DIR}")
        import importlib

        import tensorflow_datasets as tfds

        module = importlib.import_module(f"{catalogue.CORPORA[name].builder}.{name}_dataset_builder")
        builder = module.Builder(data_dir=self.get_temp_dir())
        config = tfds.download.DownloadConfig(manual_dir=str(path.parent), force_checksums_validation=True)
        builder.download_and_prepare(download_config=config)
        (example,) = tfds.as_numpy(builder.as_dataset(split="train"))
        rule = catalogue.text_rule_of(name)
        self.assertEqual(text_rules.clean(example["text"].decode(), rule), tfrnn.load_corpus(name))

    @parameterized.parameters(*FETCHED)
    def test_another_file_under_the_recorded_name_is_refused(self, name):
        file = fetch.recorded(catalogue.CORPORA[name].builder)
        folder = self.create_tempdir()
        folder.create_file(file.file_name, content="something else")
        received = hashlib.sha256(b"something else").hexdigest()
        with (
            mock.patch.dict(os.environ, {fetch.DATA_DIR: folder.full_path}),
            self.assertRaisesRegex(UserError, f"{file.sha256}.*{received}"),
        ):
            tfrnn.load_corpus(name)

    @parameterized.parameters(*FETCHED)
    def test_without_a_network_the_ways_out_are_named(self, name):
        file = fetch.recorded(catalogue.CORPORA[name].builder)
        start = time.monotonic()
        with (
            mock.patch.dict(os.environ, {fetch.DATA_DIR: self.get_temp_dir(), "TFDS_DATA_DIR": self.get_temp_dir()}),
            mock.patch("urllib.request.urlopen", side_effect=lambda *_, **__: time.sleep(60)),
            mock.patch.object(fetch, "PROBE_SECONDS", 1),
            self.assertRaises(MissingFileError) as raised,
        ):
            tfrnn.load_corpus(name)
        self.assertLess(time.monotonic() - start, 20)
        for part in (file.url, file.file_name, fetch.DATA_DIR, "--corpus=sample"):
            self.assertIn(part, str(raised.exception))
        self.assertIsInstance(raised.exception, FileNotFoundError)
        self.assertIsInstance(raised.exception, ValueError)

    def test_the_question_whether_there_is_a_network_is_short(self):
        self.assertLess(fetch.PROBE_SECONDS, 12)  # with TensorFlow's import, below the 20 seconds promised

    def test_a_prepared_copy_is_read_but_the_file_at_hand_goes_first(self):
        path = data_file("time_machine")
        if not path:
            self.skipTest(f"needs the file of time_machine in {fetch.DATA_DIR}")
        from tfrnn.data.corpora.time_machine.time_machine_dataset_builder import Builder

        prepared, folder = self.create_tempdir(), self.create_tempdir()
        Builder(data_dir=prepared.full_path).download_and_prepare(
            download_config=__import__("tensorflow_datasets").download.DownloadConfig(manual_dir=str(path.parent))
        )
        text = tfrnn.load_corpus("time_machine")
        with mock.patch.object(
            Builder, "__init__", functools.partialmethod(Builder.__init__, data_dir=prepared.full_path)
        ):
            with mock.patch.dict(os.environ, {fetch.DATA_DIR: ""}):
                self.assertEqual(tfrnn.load_corpus("time_machine"), text)
            folder.create_file(path.name, content="another")
            with (
                mock.patch.dict(os.environ, {fetch.DATA_DIR: folder.full_path}),
                self.assertRaisesRegex(UserError, "SHA-256"),
            ):
                tfrnn.load_corpus("time_machine")

    def test_own_prefixes_give_way_where_a_rule_has_changed_the_text(self):
        self.assertEqual(
            catalogue.prefixes_of("jay_lyrics", "wo yao dai ni", set("woyaodin "), "char"), ("wo yao dai n",)
        )
        self.assertEqual(
            catalogue.prefixes_of("time_machine", "the time machine by wells", {"the"}, "word"), ("the time machine",)
        )

    def test_zip_archives_that_are_none(self):
        good = io.BytesIO()
        with zipfile.ZipFile(good, "w") as archive:
            archive.writestr("a.txt", "some text")
        data = good.getvalue()
        self.assertEqual(tfrnn.load_corpus(self.create_tempfile("a.zip", data, "wb").full_path), "some text")
        damaged = data.replace(b"some", b"same", 1)
        with self.assertRaisesRegex(UserError, "cannot be unpacked"):
            tfrnn.load_corpus(self.create_tempfile("b.zip", damaged, "wb").full_path)

    def test_a_file_is_kept_as_it_is(self):
        path = self.create_tempfile("text.txt", content=b"\xef\xbb\xbfA\r\nb\xc3\xa9\n", mode="wb").full_path
        self.assertEqual(tfrnn.load_corpus(path), "A\r\nbé\n")
        self.assertEqual(tfrnn.load_corpus(path, "spaces"), "A bé ")
        self.assertEqual(catalogue.prefixes_of(path, "abc" * 10, "abc"), ("abcabcabcabc",))
        self.assertEqual(catalogue.prefixes_of(path, "To be or not", {"To"}, "word"), ("To be or",))

    @parameterized.parameters(
        (b"", "empty"), (b"ab\0c", "byte 2 is NUL"), (b"caf\xe9 !", "byte 3 is 0xe9"), (b" \n", "leaves nothing")
    )
    def test_what_is_no_text_is_refused(self, content, message):
        path = self.create_tempfile("text.txt", content=content, mode="wb").full_path
        with self.assertRaisesRegex(UserError, message):
            tfrnn.load_corpus(path)

    def test_what_cannot_be_read_is_refused(self):
        with self.assertRaisesRegex(MissingFileError, "sample, time_machine.*'no_such_file'"):
            tfrnn.load_corpus("no_such_file")
        with self.assertRaisesRegex(UserError, "directory"):
            tfrnn.load_corpus(self.create_tempdir().full_path)
        with self.assertRaisesRegex(UserError, "leaves nothing"):
            tfrnn.load_corpus(self.create_tempfile("digits", content="1 2 3").full_path, "book")
        with self.assertRaisesRegex(UserError, "text_rule"):
            tfrnn.load_corpus("sample", "shout")
