"""One open model on one provider."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from portrait_sdk.errors import ClosedError, ModelError, OptionError, ProviderError, first_line
from portrait_sdk.model import graph_cache as graphs
from portrait_sdk.model import onnx_file, providers, runtime
from portrait_sdk.model.device_runs import DeviceRuns
from portrait_sdk.ops import threads as thread_budget
from portrait_sdk.spec import METADATA_KEY, ModelSpec, missing_spec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portrait_sdk.types import F32Array

    States: TypeAlias = Mapping[str, Any]
    """Recurrent states by the name of the input they are fed to: arrays, or ONNX Runtime's values
    on the provider's device."""

_log = logging.getLogger(__name__)
_SEVERITY_ERROR = 3  # ONNX Runtime's: what it warns of, we check ourselves
# Its threads sleep while they wait. Spinning instead, as is its default, makes a run 4 % shorter on
# two idle cores, and half as long again where anybody else wants them: our own row kernels, too.
_ENTRIES: Mapping[str, str] = MappingProxyType({"session.intra_op.allow_spinning": "0"})
"""Session settings that ONNX Runtime takes by name."""
_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,  # preprocessing inside the graph
}


def read_spec(path: Path) -> ModelSpec:
    """The spec inside an .onnx file, without opening its graph.

    Raises:
        SpecError: The file has none, a newer one, or one that contradicts itself.
        ModelError: The file is missing, not ONNX, or its data lies outside its folder.
    """
    return _spec_of(onnx_file.read(path), path)


def _spec_of(found: onnx_file.OnnxFile, path: Path) -> ModelSpec:
    text = found.metadata.get(METADATA_KEY)
    if text is None:
        raise missing_spec(str(path))
    return ModelSpec.from_json(text, str(path))


class Session:
    """An open model; safe to run from several threads at once.

    Attributes:
        spec: What the file says about itself.
        path: The file.
        provider: The provider that runs it, by our short name; the truth, not the wish.
        threads: Of ONNX Runtime, within one run.
        batches: Whether the graph takes more than one photo at once.
    """

    def __init__(
        self,
        path: Path,
        provider: str = "auto",
        threads: int | None = None,
        *,
        spec: ModelSpec | None = None,
        graph_cache: bool | None = None,
        keep_memory: bool = True,
        cuda_graphs: bool = False,
        bound: bool | None = None,
    ) -> None:
        """Open a model.

        Args:
            path: An .onnx file; one that describes itself, unless ``spec`` does.
            provider: ``auto`` or a name; see ``providers.choose``.
            threads: Within one run; None: the process's budget.
            spec: Instead of what the file says about itself.
            graph_cache: Keep the optimised graph for later processes; None: as the environment's
                ``PORTRAIT_GRAPH_CACHE`` says. See ``graph_cache``.
            keep_memory: Keep working memory on the CPU between runs.
            cuda_graphs: Record the launches of the first few input sizes, and replay them.
            bound: Keep inputs, states and outputs on the provider's device (``device_runs``); None:
                where it has memory of its own.

        Raises:
            SpecError: The file does not describe itself, or in a newer schema.
            ModelError: It is missing, damaged, leads outside its folder, or has other inputs or
                outputs than the spec names.
            ProviderError: A provider asked for by name cannot be had.
            OptionError: ``threads`` is no whole number of at least 1, the variable no yes or no, or
                ``cuda_graphs`` is not possible with this provider or model.
        """
        self._keep_graph, self._keep_memory = graphs.wanted(graph_cache), keep_memory
        self._cuda_graphs = cuda_graphs
        if threads is not None:
            thread_budget.check(threads, "threads")
        found = onnx_file.read(path)  # refuses what leads outside its folder
        self.spec = spec or _spec_of(found, path)
        self._external = bool(found.external)
        self.path, self.threads = path, threads or thread_budget.budget()
        name, device = providers.choose(provider)
        try:
            session = self._create(name, device)
        except ProviderError as error:
            if provider != "auto":
                raise
            # It looked usable and is not: the CPU is what "auto" means then, and it is reported.
            _log.warning("%s; running on the CPU", error)
            name, session = "cpu", self._create("cpu", 0)
        if cuda_graphs:
            self._check_graphs(name)
        self.provider = name if device == 0 else f"{name}:{device}"
        self._check_names(session)
        self._session: Any = session
        _alive.add(session)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        batch = next(i for i in session.get_inputs() if i.name == self.spec.input.name).shape[0]
        self.batches = not isinstance(batch, int)
        self._fixed = self._fixed_inputs(session)
        self._dtype = self._dtypes(session)[self.spec.input.name]
        memory = providers.MEMORY.get(name)
        self._device_runs: DeviceRuns | None = None
        if memory is not None if bound is None else bound:
            self._device_runs = DeviceRuns(
                session, (memory or "cpu", device), self.spec.input.name, self._fixed,
                graphs=cuda_graphs,
            )  # fmt: skip

    def _check_graphs(self, name: str) -> None:
        if name != "cuda":
            raise OptionError(f"cuda_graphs: expected the provider cuda, this runs on {name}")
        if self.spec.states:
            raise OptionError(
                f"cuda_graphs: {self.spec.name!r} has recurrent states, which move in memory from "
                "frame to frame; a recorded graph needs them in one place"
            )

    def _create(self, name: str, device: int) -> Any:  # noqa: ANN401 - no stubs
        """Open the graph on one provider, which is then the one that runs."""
        try:
            session = self._open_kept(name) or self._open(_source(self.path), name, device)
        except Exception as error:
            # ONNX Runtime has no common base class for what it raises here.
            if name != "cpu":
                self._create("cpu", 0)  # a ModelError, if the file is at fault
                raise ProviderError(f"provider {name}:{device} cannot run {self.path}: "
                                    f"{first_line(error)}") from error  # fmt: skip
            raise ModelError(
                f"{self.path}: ONNX Runtime cannot open it: {first_line(error)}"
            ) from error
        active = session.get_providers()
        if providers.KNOWN[name] not in active:
            raise ProviderError(
                f"provider {name!r} was asked for and ONNX Runtime fell back to {active[0]}; "
                f"{providers.probe(name).reason}; `portrait doctor` tells more"
            )
        return session

    def _open(self, source: str | bytes, name: str, device: int, **settings: Any) -> Any:  # noqa: ANN401
        """Open a graph with our settings and, by name, those of the caller."""
        onnxruntime = runtime.onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SEVERITY_ERROR
        # A plan of one block of memory for each input size met: from the second run on it lies
        # beside what the first one took (u2netp: 540 MB instead of 346), and saves no time.
        options.enable_mem_pattern = False
        # Without the arena a first run takes as long and less (u2netp: 315 MB instead of 341), and
        # leaves nothing (96 MB instead of 341); later ones take a third longer.
        options.enable_cpu_mem_arena = self._keep_memory
        for key, value in _ENTRIES.items():
            options.add_session_config_entry(key, value)
        for key, value in settings.items():
            setattr(options, key, value)
        return onnxruntime.InferenceSession(
            source,
            options,
            providers=providers.options(name, device, cuda_graphs=self._cuda_graphs),
            enable_fallback=0,  # its own fallback prints and moves to the CPU
        )

    def _open_kept(self, name: str) -> Any:  # noqa: ANN401
        """Open the kept optimised graph, or the model while keeping it; None to do without."""
        if not self._keep_graph or name != "cpu" or self._external:
            return None
        onnxruntime = runtime.onnxruntime()
        path = graphs.entry(self.path, onnxruntime.__version__, {"provider": name, **_ENTRIES})
        graph = graphs.read(path)
        if graph is not None:
            done = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            try:
                return self._open(graph, name, 0, graph_optimization_level=done)
            except Exception as error:  # noqa: BLE001 - no common base class, as in _create
                _log.warning("%s: optimised graph ignored: %s", path, first_line(error))
        part = graphs.begin(path)
        if part is None:
            return None
        try:
            session = self._open(_source(self.path), name, 0, optimized_model_filepath=str(part))
        except BaseException:
            graphs.discard(part)
            raise
        graphs.finish(part, path)
        return session

    def _check_names(self, session: Any) -> None:  # noqa: ANN401 - no stubs
        spec = self.spec
        inputs = {i.name for i in session.get_inputs()}
        outputs = {o.name for o in session.get_outputs()}
        needed = {spec.input.name, *spec.constants, *(s.input for s in spec.states)}
        if needed != inputs:
            raise ModelError(
                f"{self.path}: its description names the inputs {sorted(needed)}, "
                f"the graph has {sorted(inputs)}"
            )
        wanted = {o.name for o in spec.outputs} | {s.output for s in spec.states}
        if not wanted <= outputs:
            raise ModelError(
                f"{self.path}: its description names the outputs {sorted(wanted)}, "
                f"the graph has {sorted(outputs)}"
            )

    def _dtypes(self, session: Any) -> dict[str, type[np.generic]]:  # noqa: ANN401
        kinds: dict[str, type[np.generic]] = {}
        for item in session.get_inputs():
            if item.type not in _DTYPES:
                raise ModelError(
                    f"{self.path}: input {item.name!r}: expected float, float16 or uint8, "
                    f"got {item.type}"
                )
            kinds[item.name] = _DTYPES[item.type]
        return kinds

    def _fixed_inputs(self, session: Any) -> dict[str, np.ndarray[Any, Any]]:  # noqa: ANN401
        """States before the first frame, and inputs that keep one value."""
        kinds = self._dtypes(session)
        fixed = {s.input: np.zeros(s.shape, kinds[s.input]) for s in self.spec.states}
        for name, values in self.spec.constants.items():
            fixed[name] = np.array(values, kinds[name])
        return fixed

    def run(self, batch: F32Array) -> np.ndarray[Any, Any]:
        """Run the graph on prepared photos and return its raw alpha output.

        Args:
            batch: float32, laid out as the spec says; see ``ops.preprocess.prepare``.

        Raises:
            ClosedError: Closed, or this is another process than the one that opened it.
            ModelError: ONNX Runtime refuses the run.
        """
        return self._run(batch, {}, [])[0]

    def step(self, batch: F32Array, states: States) -> tuple[np.ndarray[Any, Any], States]:
        """Run the graph on one frame of a sequence.

        Args:
            batch: As for ``run``.
            states: What ``step`` returned for the frame before; empty for the first, which is run
                on zeros.

        Returns:
            The raw alpha output, and the states for the next frame: empty for models without.

        Raises:
            ClosedError, ModelError: As ``run``.
        """
        recurrent = self.spec.states
        alpha, after = self._run(batch, states, [state.output for state in recurrent])
        return alpha, {s.input: value for s, value in zip(recurrent, after, strict=True)}

    def _run(
        self, batch: F32Array, states: States, after: list[str]
    ) -> tuple[np.ndarray[Any, Any], list[Any]]:
        """Alpha, and the outputs ``after`` it."""
        on_device, session = self._device_runs, self._open_session()
        alpha = self.spec.alpha.name
        # Pixels that a spec leaves as they are come as whole numbers, in float32.
        image = (np.rint(batch) if self._dtype == np.uint8 else batch).astype(
            self._dtype, copy=False
        )
        try:
            if on_device is not None:
                return on_device.run(alpha, image, states, after)
            feed = {self.spec.input.name: image, **self._fixed, **states}
            output, *rest = session.run([alpha, *after], feed)
        except Exception as error:
            raise ModelError(
                f"{self.path}: ONNX Runtime cannot run it on {self.provider} "
                f"with input {batch.shape}: {first_line(error)}"
            ) from error
        return output, rest

    def _open_session(self) -> Any:  # noqa: ANN401 - no stubs
        if self._pid != os.getpid():
            raise ClosedError(
                f"model {self.spec.name!r} was opened in process {self._pid} and this is its fork "
                f"{os.getpid()}: load it again here, or start workers with 'spawn'"
            )
        session = self._session
        if session is None:
            raise ClosedError(f"model {self.spec.name!r} is closed: load it again")
        return session

    def close(self) -> None:
        """Let go of the model; again is harmless. Runs under way in other threads end normally."""
        with self._lock:
            self._session = self._device_runs = None

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._session is None


def _source(path: Path) -> str | bytes:
    """What ONNX Runtime opens: the path, or the bytes of a file whose name is not UTF-8.

    Raises:
        ModelError: Such a file keeps tensors in other files, which bytes cannot lead to.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        if onnx_file.read(path).external:
            raise ModelError(
                f"{path}: a model with external data needs a name in UTF-8: rename it"
            ) from error
        return path.read_bytes()
    return str(path)


_alive: weakref.WeakSet[Any] = weakref.WeakSet()


def _keep_in_child() -> None:
    """Never destroy a parent's sessions in its fork.

    Their destructor waits for worker threads that the fork does not have, forever: at ``close``, at
    the end of a ``with``, or when the interpreter exits. One more reference each keeps them.
    """
    for session in list(_alive):
        for held in (session, getattr(session, "_sess", None)):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_in_child)
