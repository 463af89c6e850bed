import pytest
from export_models import CONFIGS, VOCABULARY, shared_model

from tfrnn.formats import exporting


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """`exported(form, name)`: a folder with the model `name` of export_models, exported once; only to be read."""
    folder = tmp_path_factory.mktemp("exports")

    def export_once(form, name):
        path = folder / form / name
        if not path.exists():
            exporting.export(shared_model(name), VOCABULARY, CONFIGS[name], form, path)
        return path

    return export_once
