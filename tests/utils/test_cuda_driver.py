import pytest

from srgan.inference import backends
from srgan.utils import cuda_driver
from tests.helpers import stub_driver


def test_a_machine_without_a_driver_has_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(tmp_path / "libcuda.so.1"))
    assert (cuda_driver.sees_gpu(), cuda_driver.cuda_version(), cuda_driver.free_memory()) == (False, "", None)
    assert backends.free_on_gpu() == backends.UNKNOWN_GPU_MEMORY


def test_the_driver_reports_its_version_and_the_free_memory_of_the_gpu_in_use(tmp_path, monkeypatch):
    driver = stub_driver.use(monkeypatch, stub_driver.write(tmp_path))
    assert cuda_driver.sees_gpu()
    assert cuda_driver.cuda_version() == "12.4"
    assert cuda_driver.free_memory() == backends.free_on_gpu() == stub_driver.FREE  # of device 0 of this process, not of the machine
    assert driver.held() == 0


@pytest.mark.parametrize("result", [cuda_driver.NO_DEVICE, cuda_driver.STUB])
def test_a_driver_without_a_gpu_is_none(tmp_path, monkeypatch, result):
    stub_driver.use(monkeypatch, stub_driver.write(tmp_path, result=result))
    assert not cuda_driver.sees_gpu()
    assert cuda_driver.free_memory() is None
