"""The base class of the builders of TensorFlow Datasets for one text."""

import tensorflow_datasets as tfds

from tfrnn.data.corpora.files import read_text


class TextBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds one split `train` of one example, `{"text": ...}`, from the file in the subclass's checksums.tsv."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}), description=self.__doc__
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        (url,) = self.url_infos
        return {"train": self._generate_examples(dl_manager.download(url))}

    def _generate_examples(self, path):
        yield 0, {"text": read_text(path)}
