"""Training steps on a pretended GPU: they keep to one device, never wait for it and start few kernels."""

import itertools

import pytest

from srgan.models.registry import DISCRIMINATORS, NETWORKS
from srgan.utils.cache import cache_folder
from tests.helpers import pretended_gpu
from tests.helpers.small_stages import GAN, params
from tests.models.test_networks import SMALL

TYPES = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}


def gan(label, discriminator, precision):
    options = {"losses": GAN, "discriminator": {"name": discriminator, "features": 4}}
    return {"stage": "train", "label": label, "precision": precision, **options}


def fits(label, precision):
    model = params("pretrain", label=label).model
    return precision != "fp16" or NETWORKS[model.name].supports_half(model)


PIXEL = [{"stage": "pretrain", "label": label, "precision": precision} for label, precision in itertools.product(SMALL, TYPES)]
FEW = [{"stage": "pretrain", "label": "srresnet", "precision": precision} for precision in TYPES]
FEW += [gan("compact", *names) for names in zip(DISCRIMINATORS, TYPES, strict=True)]
FAULTS = {  # the sign of each
    "read": "DataDependentOutputException: aten._local_scalar_dense",
    "branch": "DataDependentOutputException: aten._local_scalar_dense",
    "copy": "aten._to_copy.default",
    "upload": "aten._to_copy.default",
    "mismatch": "FakeTensorDeviceMismatchError",
}
FAULTY = [PIXEL[0] | {"fault": fault} for fault in FAULTS]
BUDGETS = [("srgan-div2k", "pretrain", 450), ("srgan-div2k", "train", 800), ("esrgan-df2k", "train", 3500)]


@pytest.fixture(scope="module")
def library():
    try:
        return pretended_gpu.build(cache_folder() / "tests")
    except RuntimeError as reason:
        pytest.skip(str(reason))


def within_budget(found, budget):
    assert "error" not in found, found["error"]
    assert found["count"] <= budget, found["operators"]
    assert not found["waits"]
    assert not found["frozen_casts"]
    assert found["average"] <= 4


def problems(cases, results):
    """Return what is wrong, by case."""
    wrong = {}
    for case, found in zip(cases, results, strict=True):
        expected = {"devices": ["cuda:0"], "convolutions": [TYPES[case["precision"]]], "waits": [], "frozen_casts": 0}
        if {key: found.get(key) for key in expected} != expected or found["average"] > 4:
            wrong[str(case)] = found
    return wrong


@pytest.mark.timeout(600)
def test_steps_on_a_gpu(library):
    profile, stage, budget = BUDGETS[0]
    *results, largest = pretended_gpu.run(library, [*FAULTY, *FEW, {"profile": profile, "stage": stage}])
    for (fault, sign), found in zip(FAULTS.items(), results, strict=False):
        assert sign in str(found.get("error") or found["waits"]), fault
    assert not problems(FEW, results[len(FAULTY) :])
    within_budget(largest, budget)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_networks_on_a_gpu(library):
    cases = PIXEL + [gan(*names) for names in itertools.product(SMALL, DISCRIMINATORS, TYPES)]
    cases = [case for case in cases if fits(case["label"], case["precision"])]
    assert not problems(cases, pretended_gpu.run(library, cases))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_large_profiles_on_a_gpu(library):
    cases = [{"profile": profile, "stage": stage} for profile, stage, _ in BUDGETS[1:]]
    for found, (_, _, budget) in zip(pretended_gpu.run(library, cases), BUDGETS[1:], strict=True):
        within_budget(found, budget)
