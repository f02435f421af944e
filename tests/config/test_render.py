"""`srgan params`: files of users are completed, and what is generated is up to date."""

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
import yaml

from srgan.commands.main import main
from srgan.config import profiles, reference, render, schema
from tests.config.test_schema import former_demo
from tests.helpers.project import ROOT

HERE = Path(__file__).parent


def test_the_generated_files_are_up_to_date():
    assert (ROOT / "params.schema.json").read_text() == reference.json_schema(), "run: srgan params schema"
    assert (ROOT / "docs" / "parameters.md").read_text() == reference.reference(), "run: srgan params docs"


def test_the_commands_write_them(tmp_path):
    main(["params", "schema", "-o", str(tmp_path / "s.json")])
    main(["params", "docs", "-o", str(tmp_path / "d.md")])
    assert (tmp_path / "s.json").read_text() == reference.json_schema()
    assert (tmp_path / "d.md").read_text() == reference.reference()


@pytest.fixture(scope="module")
def editor():
    """A validator of the schema, as editors have one."""
    described = json.loads(reference.json_schema())
    kind = jsonschema.validators.validator_for(described)
    kind.check_schema(described)
    return kind(described)


@pytest.mark.parametrize("name", profiles.list_profiles())
def test_editors_accept_a_profile_and_mark_a_wrong_key(editor, name):
    values = yaml.safe_load(profiles.read(name))
    editor.validate(values)
    values["train"]["stepz"] = 1
    with pytest.raises(jsonschema.ValidationError):
        editor.validate(values)


def test_an_old_file_is_rewritten_with_new_names_and_all_options_and_keeps_comments_and_values(tmp_path, capsys, caplog):
    path = tmp_path / "params.yaml"
    text = (HERE / "params-7ea437b.yaml").read_text().replace("steps: 3000", "steps: 1234 # as in my thesis")
    path.write_text(text)
    main(["params", "update", "--params", str(path)])
    printed = capsys.readouterr().out
    assert "pretrain.batch is now pretrain.batch_size" in printed
    assert "pretrain.continue_from added: none" in printed
    caplog.clear()
    loaded = schema.load(path)
    assert not caplog.records  # no old name is left
    former = former_demo(loaded)
    assert loaded == former.model_copy(update={"pretrain": former.pretrain.model_copy(update={"steps": 1234})})
    updated = path.read_text()
    assert updated.startswith("# yaml-language-server: $schema=params.schema.json\n")
    assert "  steps: 1234 # as in my thesis\n" in updated
    assert "  batch_size: 8 # crops per step\n" in updated
    assert "  optimize_graph: true # true: the graph" not in updated  # the comment of an inverted option would be wrong
    assert list(yaml.safe_load(updated)) == list(schema.Params.model_fields) or "\n\nruntime:" in updated
    main(["params", "update", "--params", str(path)])
    assert "already" in capsys.readouterr().out
    assert path.read_text() == updated


def test_a_short_file_gets_every_option(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("model: {name: rrdb}\n# mine\ntrain:\n  losses: [{name: hinge, weight: 0.1}] # a little\n")
    before = schema.load(path)
    render.update_file(path)
    assert schema.load(path) == before
    assert schema.flatten(yaml.safe_load(path.read_text())).keys() == schema.flatten(before).keys()
    assert "# mine\n" in path.read_text()
    assert "# a little" in path.read_text()


def test_a_rendered_file_gives_the_same_options(tmp_path):
    odd = {"license": "it's: #1, 'quoted' {x}", "name": "1.10"}
    params = schema.Params()
    params = params.model_copy(update={"export": params.export.model_copy(update=odd)})
    path = tmp_path / "params.yaml"
    path.write_text(render.render(params, "a heading"))
    assert schema.load(path) == params
    shutil.copy(path, tmp_path / "copy.yaml")
    assert render.update(path)[1] == []
