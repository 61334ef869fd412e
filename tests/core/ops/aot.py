"""Cross-compiles Triton kernels for NVIDIA GPUs that are not there, and reads what they need.

Run as a program, this file is the child of `compile_variants`: variants come in as JSON lines and
figures go out. It has to be a process of its own, because a kernel defined where TRITON_INTERPRET
is set cannot be compiled.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

SHARED_LIMIT = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""Bytes of shared memory that one program may have, by compute capability times ten."""
ARCHITECTURES = tuple(SHARED_LIMIT)
_SECONDS = 300


@dataclass(frozen=True)
class Variant:
    """One kernel with everything that its compilation depends on."""

    kernel: str
    """`"package.module:name"`."""
    signature: Mapping[str, str]
    """Every argument in order: `"*fp32"`, `"i32"`, `"constexpr"`."""
    constexprs: Mapping[str, Any]
    warps: int
    stages: int
    architecture: int
    aligned: tuple[str, ...] = ()
    """Arguments known to be divisible by 16."""


@dataclass(frozen=True)
class Needs:
    """What a compiled kernel takes: registers a thread, bytes of stack, bytes of shared memory."""

    registers: int
    stack: int
    shared: int
    tensor_cores: bool
    error: str = ""

    def fault(self, architecture: int) -> str:
        """Why the kernel must not be shipped for `architecture`; empty where it may."""
        if self.error:
            return self.error
        if self.stack:
            return f"{self.stack} bytes of registers spilled to the stack"
        if self.shared > SHARED_LIMIT[architecture]:
            return f"{self.shared} bytes of shared memory of {SHARED_LIMIT[architecture]}"
        return ""


def compile_variants(variants: Iterable[Variant], *, processes: int = 2) -> dict[int, Needs]:
    """Compile all variants in a few child processes; their needs by position in `variants`."""
    waiting: SimpleQueue[tuple[int, Variant]] = SimpleQueue()
    for numbered in enumerate(variants):
        waiting.put(numbered)
    found: dict[int, Needs] = {}
    threads = [threading.Thread(target=_serve, args=(waiting, found)) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _serve(waiting: SimpleQueue[tuple[int, Variant]], found: dict[int, Needs]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        while True:
            try:
                number, variant = waiting.get_nowait()
            except Empty:
                break
            child.stdin.write(json.dumps(asdict(variant)) + "\n")
            child.stdin.flush()
            answer = child.stdout.readline()
            if not answer:
                found[number] = Needs(0, 0, 0, False, error="the compiler process died")
                return
            found[number] = Needs(**json.loads(answer))
        child.stdin.close()
        child.wait(_SECONDS)


def compile_variant(variant: Variant) -> Needs:
    """Compile in this process; TRITON_INTERPRET must not be set."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    module, name = variant.kernel.split(":")
    kernel = getattr(import_module(module), name)
    places = {argument: place for place, argument in enumerate(kernel.arg_names)}
    if list(places) != list(variant.signature):
        raise ValueError(f"signature: expected {list(places)}, came {list(variant.signature)}")
    source = ASTSource(
        kernel,
        signature=dict(variant.signature),
        constexprs=dict(variant.constexprs),
        attrs={(places[name],): [["tt.divisibility", 16]] for name in variant.aligned},
    )
    compiled = compile(
        source,
        target=GPUTarget("cuda", variant.architecture, 32),
        options={
            "num_warps": variant.warps,
            "num_stages": variant.stages,
            "enable_fp_fusion": True,
        },
    )
    usage = _resource_usage(compiled.asm["cubin"])
    ptx = compiled.asm["ptx"]
    return Needs(
        registers=int(_field(usage, "REG")),
        stack=int(_field(usage, "STACK")),
        shared=compiled.metadata.shared,
        tensor_cores=any(word in ptx for word in ("wgmma", "mma.sync", "tcgen05.mma")),
    )


def _resource_usage(cubin: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run(
            [_cuobjdump(), "--dump-resource-usage", file.name],
            check=True,
            capture_output=True,
            text=True,
        ).stdout


@cache
def _cuobjdump() -> str:
    spec = find_spec("triton")
    assert spec is not None
    assert spec.origin is not None
    (tool,) = Path(spec.origin).parent.glob("backends/nvidia/bin/cuobjdump*")
    return str(tool)


def _field(usage: str, name: str) -> str:
    match = re.search(rf"\b{name}:(\d+)", usage)
    assert match is not None, usage
    return match.group(1)


def _answer(line: str) -> Needs:
    try:
        return compile_variant(Variant(**json.loads(line)))
    except Exception as problem:  # Whatever it is belongs in the report of this one variant.
        return Needs(0, 0, 0, False, error=f"{type(problem).__name__}: {str(problem)[-600:]}")


if __name__ == "__main__":
    # Only answers may go where the parent reads; the compiler's own words go to stderr.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        out.write(json.dumps(asdict(_answer(line))) + "\n")
        out.flush()
