from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vostool.device import (
    choose_device,
    choose_precision,
    cpu_has_bf16,
    cpu_has_int8,
    oom_as_device_error,
)
from vostool.errors import DeviceError, UsageError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def pretend(monkeypatch: pytest.MonkeyPatch, gpus: int, capability: int = 8) -> None:
    """Have PyTorch say that there are so many GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (capability, 0))


class TestDevice:
    def test_auto_is_a_gpu_if_there_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pretend(monkeypatch, gpus=1)
        assert choose_device("auto") == CUDA
        pretend(monkeypatch, gpus=0)
        assert choose_device("auto") == CPU

    def test_may_be_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pretend(monkeypatch, gpus=2)
        assert choose_device("cpu") == CPU
        assert choose_device("cuda") == CUDA
        assert choose_device("cuda:1") == torch.device("cuda:1")

    @pytest.mark.parametrize(("name", "gpus"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
    def test_that_is_absent_is_refused_with_what_was_found(
        self, name: str, gpus: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pretend(monkeypatch, gpus)
        with pytest.raises(DeviceError, match=f"--device {name}: .* finds {gpus}"):
            choose_device(name)

    @pytest.mark.parametrize("name", ["", "gpu", "CUDA", "cuda:x", "cuda:-1", "cpu:", "mps", "0"])
    def test_of_an_unknown_name_is_refused(self, name: str) -> None:
        with pytest.raises(UsageError, match="expected auto, cpu, cuda or cuda:NUMBER"):
            choose_device(name)

    @pytest.mark.parametrize("name", ["cuda:", "cuda:²"])
    def test_without_a_number_after_the_colon_is_refused(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pretend(monkeypatch, gpus=4)
        with pytest.raises(UsageError):
            choose_device(name)


class TestPrecision:
    @pytest.mark.parametrize("name", ["fp32", "bf16"])
    def test_may_be_named_on_any_device(self, name: str) -> None:
        expected = {"fp32": torch.float32, "bf16": torch.bfloat16}[name]
        assert choose_precision(name, CPU) == choose_precision(name, CUDA) == expected

    def test_of_fp16_needs_a_gpu(self) -> None:
        assert choose_precision("fp16", CUDA) == torch.float16
        with pytest.raises(UsageError, match="--precision fp16: needs a CUDA device"):
            choose_precision("fp16", CPU)

    def test_of_int8_needs_a_cpu_that_has_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vostool.device.cpu_has_int8", lambda: True)
        assert choose_precision("int8", CPU) == torch.int8
        with pytest.raises(UsageError, match="--precision int8: needs --device cpu"):
            choose_precision("int8", CUDA)
        monkeypatch.setattr("vostool.device.cpu_has_int8", lambda: False)
        with pytest.raises(UsageError, match="--precision int8: needs a CPU with AVX2"):
            choose_precision("int8", CPU)

    @pytest.mark.parametrize("bf16", [False, True])
    def test_auto_on_a_cpu_is_bf16_only_where_it_is_in_hardware(
        self, bf16: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vostool.device.cpu_has_bf16", lambda: bf16)
        assert choose_precision("auto", CPU) == (torch.bfloat16 if bf16 else torch.float32)

    @pytest.mark.parametrize(
        ("capability", "expected"), [(7, torch.float16), (8, torch.bfloat16), (9, torch.bfloat16)]
    )
    def test_auto_on_a_gpu_is_16_bits_of_the_kind_it_has(
        self, capability: int, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pretend(monkeypatch, 1, capability)
        assert choose_precision("auto", CUDA) == expected

    @pytest.mark.parametrize("name", ["", "half", "fp64", "BF16"])
    def test_of_an_unknown_name_is_refused(self, name: str) -> None:
        with pytest.raises(UsageError, match="expected auto, fp32, bf16, fp16, int8"):
            choose_precision(name, CPU)

    def test_of_this_cpu_is_known(self) -> None:
        assert isinstance(cpu_has_bf16(), bool)


class TestInt8:
    @pytest.fixture(autouse=True)
    def not_asked_before(self) -> Iterator[None]:
        cpu_has_int8.cache_clear()
        yield
        cpu_has_int8.cache_clear()

    @pytest.mark.parametrize("capability", ["DEFAULT", "NEON", "SVE256"])
    def test_is_not_tried_on_others_than_those_with_avx(
        self, capability: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
        assert not cpu_has_int8()

    @pytest.mark.parametrize("found", [AttributeError, RuntimeError, TypeError, 0.0, None])
    def test_is_denied_where_pytorch_has_no_such_operator_or_one_that_overflows(
        self, found: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def convolve(*_: object) -> torch.Tensor:
            if isinstance(found, type):
                raise found("no such operator")
            return torch.full((1, 16, 1, 1), 8 * 127 * 255.0 if found is None else found)

        ops = SimpleNamespace(qconv_prepack=lambda *_: None, qconv2d_pointwise=convolve)
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
        monkeypatch.setattr("torch.ops.onednn", ops)
        assert cpu_has_int8() == (found is None)


class TestWantOfMemory:
    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            MemoryError(),
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
            ),
            RuntimeError("Storage size calculation overflowed with sizes=[9999999999, 9999999999]"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_is_told_with_what_helps(self, error: Exception) -> None:
        told = pytest.raises(DeviceError, match="out of memory; try a smaller --size")
        with told as caught, oom_as_device_error(CPU):
            raise error
        assert caught.value.__cause__ is error

    def test_of_a_real_kind_is_recognised(self) -> None:
        with pytest.raises(DeviceError), oom_as_device_error(CPU):
            torch.empty(2**46)

    def test_is_not_what_other_errors_are_taken_for(self) -> None:
        with pytest.raises(RuntimeError, match="size of tensor"), oom_as_device_error(CPU):
            torch.ones(2) + torch.ones(3)
