"""The configuration for Triton, read by Triton's own message types. No server runs.

``model_config.pb`` is the schema by which Triton parses ``config.pbtxt``: the descriptor of ``model_config.proto`` in tritonclient 2.73.
"""

from pathlib import Path

import onnxruntime
import pytest
from google.protobuf import descriptor_pool, message_factory, text_format

from srgan.release.triton import write_repository
from tests.helpers.project import write_model

SCHEMA = Path(__file__).with_name("model_config.pb")


@pytest.fixture(scope="module")
def config_type():
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(SCHEMA.read_bytes())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


def test_triton_reads_the_configuration_and_finds_the_tensors_of_the_model(config_type, tmp_path):
    model = write_model(tmp_path)
    write_repository(tmp_path / "triton", model)
    (place,) = (tmp_path / "triton").iterdir()
    text = (place / "config.pbtxt").read_text()
    config = text_format.Parse(text, config_type())
    assert (config.name, config.backend, config.max_batch_size) == (place.name, "onnxruntime", 0)
    session = onnxruntime.InferenceSession(place / "1/model.onnx", providers=["CPUExecutionProvider"])
    for described, tensors in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [tensor.name for tensor in described] == [tensor.name for tensor in tensors]
        for tensor, real in zip(described, tensors, strict=True):
            assert [-1 if isinstance(side, str) else side for side in real.shape] == list(tensor.dims)
            assert tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name == "TYPE_FP32"
    with pytest.raises(text_format.ParseError, match="no field named"):
        text_format.Parse(text.replace("data_type", "type"), config_type())
