# SPDX-License-Identifier: BSD-3-Clause
"""Files that are damaged or made up run nothing, take no memory, and say what is wrong.

All are opened in one other process, which notes what Python's audit hooks see.
"""

import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
import torch
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.preprocessing import StandardScaler
from tiny_estimators import make_tiny

import skastro
from skastro import (
    GalaxyClassifier,
    SpectrumClassifier,
    load_model,
    make_pipeline,
    save_model,
)
from skastro.base._state import encode
from skastro.utils import read_archive, write_archive

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform == "win32", reason="memory is read from Linux"),
]

SCRIPT = """
import json, resource, sys, warnings
from pathlib import Path

import skastro.sevi
import skastro.training
import torch
from skastro import load_model

torch.set_num_threads(1)
folder = Path(sys.argv[1])
seen = []


def note(event, args):
    if event == "open":
        writes = args[1] is not None and set(str(args[1])) & set("wax+")
        if not writes:
            return
    elif event == "exec":
        if Path(args[0].co_filename).is_file():
            return  # a module that is imported
    elif event != "pickle.find_class" and not event.startswith(
        ("os.system", "os.mkdir", "os.remove", "os.rename", "os.exec", "os.spawn")
        + ("os.posix_spawn", "subprocess.", "socket.", "shutil.", "ctypes.", "urllib.")
    ):
        return
    seen.append(f"{event} {args!r}"[:200])


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# What is imported at the first use is not of interest.
for package in (skastro, skastro.sevi, skastro.training):
    for name in package.__all__:
        getattr(package, name)
for path in sorted(folder.glob("good-*.skastro")):
    load_model(path)
for path in sorted(folder.glob("bad-*.skastro"))[:3]:
    try:
        load_model(path)
    except ValueError:
        pass
sys.addaudithook(note)
results = {}
for path in sorted(folder.glob("*.skastro")):
    seen.clear()
    before = memory()
    try:
        model = load_model(path)
        kind = message = ""
    except Exception as error:
        kind, message = type(error).__name__, str(error)
    results[path.stem] = [kind, message, memory() - before, list(seen)]
sys.stdout.write(json.dumps(results))
"""


class Malice:
    """It makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def changed(content, **parts):
    """Replace members of an archive, whose names come without folders or dots."""
    members = read_archive(content)
    for name, part in parts.items():
        full = next(n for n in members if re.sub(r"\W", "_", n) == name)
        members[full] = part(members[full])
    return write_archive(members)


def with_json(content, change):
    """Change the description of a model."""

    def edit(text):
        described = json.loads(text)
        change(described)
        return json.dumps(described).encode()

    return changed(content, model_json=edit)


def with_header(content, change):
    """Change the header of the weights, and leave the tensors."""

    def edit(weights):
        size = int.from_bytes(weights[:8], "little")
        header = json.loads(weights[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + weights[8 + size :]

    return changed(content, weights_0_safetensors=edit)


def with_state(content, **values):
    """Change what was learned, in the header of the weights."""

    def change(header):
        state = json.loads(header["__metadata__"]["skastro_state"])
        state["state"]["dict"].update(values)
        header["__metadata__"]["skastro_state"] = json.dumps(state)

    return with_header(content, change)


def with_parameter(content, **values):
    return with_json(content, lambda m: m["model"]["net"]["parameters"].update(values))


def as_object(name, **state):
    return {"object": {"class": name, "state": state}}


def with_model(content, model):
    return with_json(content, lambda described: described.update(model=model))


def zipped(*members, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of repeated names
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def patched(content, old, new):
    assert content.count(old) > 0
    return content.replace(old, new)


def nested(depth):
    return "[" * depth + "]" * depth


def with_skops(content, part):
    """Let the second step of a pipeline be a file of skops."""
    return changed(content, scikit_learn_0_skops=lambda _: part)


def bad_array(*, shape=(2,), dtype="<f8", data=b"\0" * 16):
    header = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


def skops_with_array(array):
    content = skops.io.dumps(StandardScaler().fit(np.eye(3)))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(n, archive.read(n)) for n in archive.namelist()]
    return zipped(*((n, array if n.endswith(".npy") else c) for n, c in members))


def skops_with_schema(change):
    content = skops.io.dumps(StandardScaler().fit(np.eye(3)))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members["schema.json"] = change(members["schema.json"])
    return zipped(*members.items())


def bent_trees(estimator, old):
    """Let the children of the nodes of trees be far away."""
    for tree in [e.tree_ for e in getattr(estimator, "estimators_", [])]:
        state = tree.__getstate__()
        state["nodes"]["left_child"][0] = old
        tree.__setstate__(state)
    for (tree,) in getattr(estimator, "_predictors", []):
        tree.nodes["left"][0] = old
    return skops.io.dumps(estimator)


def hostile_files(net, images, forest, canary):
    """Make the files, by the names of what is wrong with them."""
    X, y = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 2
    trees = RandomForestClassifier(2, random_state=0).fit(X, y)
    boosted = HistGradientBoostingClassifier(max_iter=2).fit(X, y)
    members = read_archive(net)
    pairs = [*members.items()]
    payload = pickle.dumps(Malice(str(canary)))
    tensors = io.BytesIO()
    torch.save({"weight": Malice(str(canary))}, tensors)
    huge = {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}
    bomb = b"\0" * 2**27
    yield "empty", b""
    yield "text", b"weights"
    yield "pickle", payload
    yield "torch file", tensors.getvalue()
    yield "numpy file", bad_array()
    yield "pickle as content", changed(net, model_json=lambda _: payload)
    yield "pickle as weights", changed(net, weights_0_safetensors=lambda _: payload)
    yield (
        "torch as weights",
        changed(net, weights_0_safetensors=lambda _: tensors.getvalue()),
    )
    yield "pickle as skops", with_skops(forest, payload)
    yield (
        "pickle in an array",
        with_skops(forest, skops_with_array(bad_array(dtype="|O", data=payload))),
    )
    for i, name in enumerate(["../up", "/tmp/x", "a/../../b", "a\\..\\b", "./model"]):
        yield f"traversal {i}", zipped(*pairs, (name, b"x"))
    yield "repeated members", zipped(*pairs, *pairs[:1])
    yield "bomb", zipped(("model.json", bomb), compression=zipfile.ZIP_DEFLATED)
    yield (
        "packed bomb",
        zipped(*pairs, ("more", bomb[:1000]), compression=zipfile.ZIP_BZIP2),
    )
    yield (
        "bomb in skops",
        with_skops(
            forest, zipped(("schema.json", bomb), compression=zipfile.ZIP_DEFLATED)
        ),
    )
    sizes = zipped(*pairs)
    place = sizes.rindex(b"PK\1\2")
    yield "large size", sizes[: place + 20] + b"\xf0" * 8 + sizes[place + 28 :]
    yield "encrypted", sizes[: place + 8] + b"\1" + sizes[place + 9 :]
    yield "wrong checksum", patched(net, b'"format"', b'"tamrof"')
    yield "no content", zipped(*pairs[1:])
    yield "no card", zipped(*(pair for pair in pairs if pair[0] != "card.md"))
    yield "no weights", zipped(*(p for p in pairs if not p[0].startswith("weights")))
    yield "huge tensor", with_header(net, lambda h: h.update(more=huge))
    yield (
        "huge header",
        changed(net, weights_0_safetensors=lambda w: b"\xff" * 8 + w[8:]),
    )
    yield (
        "swapped shapes",
        with_header(
            net,
            lambda h: [
                entry.update(shape=entry["shape"][::-1])
                for name, entry in h.items()
                if name != "__metadata__"
            ],
        ),
    )
    yield (
        "other shapes",
        with_header(
            net, lambda h: [e.update(shape=[7]) for n, e in h.items() if n[0] != "_"]
        ),
    )
    yield (
        "no names of tensors",
        with_header(
            net, lambda h: [h.pop(name) for name in list(h) if name != "__metadata__"]
        ),
    )
    yield (
        "damaged state",
        with_header(net, lambda h: h["__metadata__"].update(skastro_state="{")),
    )
    yield "wide network", with_parameter(net, module__hidden={"list": [10**9, 10**9]})
    yield "deep network", with_parameter(net, module__hidden={"list": [1] * 300_000})
    yield (
        "large sizes",
        with_state(
            net,
            module_sizes_={
                "dict": {"n_channels": 1, "n_outputs": 2, "input_size": 10**9}
            },
        ),
    )
    yield "wide images", with_parameter(images, module__width=10**8)
    yield (
        "many blocks",
        with_parameter(
            images, module={"public": "skastro.networks.ResNet"}, module__layers=10**9
        ),
    )
    yield (
        "large loss",
        with_parameter(
            net,
            criterion={"public": "torch.nn.Linear"},
            criterion__in_features=10**5,
            criterion__out_features=10**5,
        ),
    )
    yield (
        "large array",
        with_state(
            net, pixel_mean_={"array": "AAAA", "dtype": "<f4", "shape": [10**12]}
        ),
    )
    yield (
        "array of objects",
        with_state(net, pixel_mean_={"array": "AAAAAAAA", "dtype": "|O", "shape": [1]}),
    )
    yield (
        "array in skops",
        with_skops(forest, skops_with_array(bad_array(shape=(10**12,)))),
    )
    yield (
        "negative array in skops",
        with_skops(forest, skops_with_array(bad_array(shape=(-1, -8)))),
    )
    yield "deep JSON", changed(net, model_json=lambda _: nested(10**5).encode())
    yield (
        "large number",
        changed(
            net,
            model_json=lambda t: t.replace(
                b'"version": 1', b'"version": ' + b"9" * 5000
            ),
        ),
    )
    yield "no JSON", changed(net, model_json=lambda t: t[:-3])
    yield "not UTF-8", changed(net, model_json=lambda t: t.replace(b"skastro", b"\xff"))
    yield "a list", changed(net, model_json=lambda _: b"[]")
    yield "later version", with_json(net, lambda m: m.update(version=99))
    yield "another format", with_json(net, lambda m: m.update(format="x"))
    yield "unknown kind", with_model(net, {"code": "__import__('os').system('ls')"})
    yield "code", with_model(net, {"public": "__import__('os').system('ls')"})
    for name in (
        *(
            "os.system",
            "builtins.eval",
            "subprocess.Popen",
            "torch.load",
            "pickle.loads",
        ),
        *(
            "sklearn.datasets.fetch_openml",
            "sklearn.utils.parallel.os",
            "skastro.utils",
        ),
        *("skastro.base.BaseNet.load_params", "sklearn.svm.np", "skastro.torch"),
        *("torch.utils.data.datapipes", "torch.hub.load", "imblearn.tensorflow.X"),
        *("torch.nn.modules.module._global_forward_hooks", "joblib.load", ".", ""),
        *("skastro.load_model", "skastro.sevi.read_sevi", "skastro.networks.register"),
    ):
        yield f"name {name}", with_model(net, {"public": name})
        yield f"object {name}", with_model(net, as_object(name))
    unpickled = np.frombuffer(tensors.getvalue(), np.uint8)
    for cls in ("skastro.SpectrumClassifier", "skastro.sevi.SEVIRegressor"):
        state = {
            "device": "cpu",
            "__cuda_dependent_attributes__": encode(unpickled, ""),
            "cuda_dependent_attributes_": {"list": []},
        }
        yield f"state of {cls}", with_model(net, as_object(cls, **state))
    yield "object of a network", with_model(net, as_object("torch.nn.Linear"))
    yield (
        "net of another class",
        with_json(
            net, lambda m: m["model"]["net"].update({"class": "skastro.MinMaxSpectra"})
        ),
    )
    yield "unknown parameter", with_parameter(net, unheard_of=1)
    yield (
        "class as parameter",
        with_parameter(net, __class__={"public": "skastro.SpectrumRegressor"}),
    )
    yield (
        "given class",
        with_json(
            net, lambda m: m["model"]["net"].update({"class": {"given": "Malice"}})
        ),
    )
    yield (
        "callback of another class",
        with_parameter(
            net,
            callbacks={
                "list": [{"callback": ["torch.optim.SGD", {"dict": {"lr": 1}}]}]
            },
        ),
    )
    yield "unit", with_parameter(net, lr={"unit": "m**99999999"})
    yield "no unit", with_parameter(net, lr={"unit": "print(1)"})
    yield (
        "function in skops",
        with_skops(
            forest,
            skops_with_schema(
                lambda text: text.replace(b'"StandardScaler"', b'"system"', 1).replace(
                    b'"sklearn.preprocessing._data"', b'"os"', 1
                )
            ),
        ),
    )
    yield from hostile_nodes(forest)
    yield from hostile_states(net)
    yield "bytes in front", b"#!/bin/sh\n" + net
    yield (
        "how torch reads",
        with_parameter(net, torch_load_kwargs={"dict": {"weights_only": False}}),
    )
    for callback in ("LoadInitState", "Checkpoint"):
        made = {"callback": [f"skorch.callbacks.{callback}", {"dict": {}}]}
        yield f"callback {callback}", with_parameter(net, callbacks={"list": [made]})
    for name in ("criterion", "module"):
        layers = {f"{name}__num_encoder_layers": 10**6}
        transformer = {"public": "torch.nn.Transformer"}
        yield (
            f"{name} of many layers",
            with_parameter(net, **{name: transformer}, **layers),
        )
        yield (
            f"{name} that prints",
            with_parameter(net, **{name: {"public": "builtins.print"}}),
        )
    yield (
        "folder of pickles",
        with_json(
            forest, lambda m: m["model"]["object"]["state"].update(memory="/tmp/cache")
        ),
    )
    yield (
        "one member many times",
        with_json(
            forest,
            lambda m: m["model"]["object"]["state"].update(
                verbose={"list": [{"skops": "scikit-learn/0.skops"}] * 300}
            ),
        ),
    )
    far = GradientBoostingClassifier(n_estimators=2, random_state=0).fit(X, y)
    for tree in far.estimators_.ravel():
        state = tree.tree_.__getstate__()
        state["nodes"]["feature"][state["nodes"]["left_child"] != -1] = 2**30
        tree.tree_.__setstate__(state)
        tree.n_features_in_ = 2**31 - 1
    yield "features far away", with_skops(forest, skops.io.dumps(far))
    yield "damaged skops", with_skops(forest, b"PK\3\4")
    for far in (10**6, 0, -5):
        yield f"child {far} of a forest", with_skops(forest, bent_trees(trees, far))
    yield "child in boosting", with_skops(forest, bent_trees(boosted, 10**6))
    rng = np.random.default_rng(0)
    for i, size in enumerate(rng.integers(1, len(net) - 1, size=20)):
        yield f"truncated {i}", net[:size]
    for i, place in enumerate(rng.integers(0, len(net) - 100, size=20)):
        flipped = bytes([net[place] ^ 255])
        yield f"flipped {i}", net[:place] + flipped + net[place + 1 :]


def hostile_states(net):
    """Make files whose attributes call something when the model is opened or used."""
    scaler = "sklearn.preprocessing.StandardScaler"
    printing = {"public": "builtins.print"}
    calls = {"partial": {"list": [printing, {"list": ["x"]}, {"dict": {}}]}}
    endless = {"range": [0, 10**9, 1]}
    yield "a call", with_model(net, as_object(scaler, func=calls))
    yield "a name of a method", with_model(net, as_object(scaler, transform=printing))
    yield "a hidden name", with_model(net, as_object(scaler, __reduce__=1))
    requesting = as_object(scaler, set_own_request=printing)
    requesting["object"]["requests"] = {"own": {"sep": True}}
    yield "own requests", with_model(net, requesting)
    vectorizer = "sklearn.feature_extraction.text.CountVectorizer"
    yield "names of files", with_model(net, as_object(vectorizer, input="filename"))
    stacking = "sklearn.ensemble.StackingClassifier"
    yield (
        "a method that is called",
        with_model(net, as_object(stacking, stack_method_={"list": ["__setstate__"]})),
    )
    for name, value in {
        "range": endless,
        "masked": {"masked": {"list": [endless, endless]}},
        "type of a mask": {"masked": {"list": [1, False, "S1000000000"]}},
        "quantity": {"quantity": [endless, "m"]},
        "distribution": {"distribution": {"list": ["norm", endless, {"dict": {}}]}},
    }.items():
        yield f"endless {name}", with_model(net, as_object(scaler, mean_=value))
    yield (
        "endless history",
        with_json(net, lambda m: m["model"]["net"].update(history=endless)),
    )
    for name in ("compile", "torch_load_kwargs", "module_", "_training", "predict"):
        yield f"state {name}", with_state(net, **{name: True})
    yield (
        "large images",
        with_state(
            net, module_sizes_={"dict": {"input_size": {"tuple": [10**5, 10**5]}}}
        ),
    )
    yield "a compiler", with_parameter(net, compile=True)


def hostile_nodes(forest):
    """Make files whose nodes of skops call functions, or take memory."""

    def node(loader, module, name, **parts):
        return {"__loader__": loader, "__module__": module, "__class__": name, **parts}

    def text(value):
        return node("JsonNode", "builtins", "str", content=json.dumps(value))

    def sequence(kind, *parts, **more):
        loader = f"{kind.capitalize()}Node"
        return node(loader, "builtins", kind, content=[*parts], **more)

    def call(module, name, *args):
        return node(
            "ConstructorFromReduceNode", module, name, content=sequence("tuple", *args)
        )

    scorer = "sklearn.metrics._scorer"
    function = node("FunctionNode", scorer, "make_scorer")

    def mapping(**values):
        types = [node("TypeNode", "builtins", "str") for _ in values]
        keys = sequence("list", *types)
        return node("DictNode", "builtins", "dict", content=values, key_types=keys)

    packed = io.BytesIO()
    zeros = np.zeros(2**25)
    np.savez_compressed(packed, data=zeros, format=b"coo", shape=(1, 1))
    nested = sequence("list", text("x"), __id__=1)
    for i in range(30):
        nested = sequence("list", nested, {"__id__": i + 1}, __id__=i + 2)
    trees = {
        "attribute": call(
            scorer, "_check_response_method", function, text("__globals__")
        ),
        "call": call(
            scorer, "_cached_call", text(None), function, text("a"), text("b")
        ),
        "import": node("FunctionNode", "sklearn.utils.fixes", "threadpoolctl"),
        "memory": call("scipy.sparse._construct", "eye_array", text(10**8)),
        "writing": call("scipy.sparse._matrix_io", "save_npz", text("/tmp/x"), text(1)),
        "partial": node("PartialNode", "functools", "partial", content={}),
        "method": node("MethodNode", "builtins", "str", content={}),
        "operator": node("OperatorFuncNode", "operator", "methodcaller", attrs=text(1)),
        "class as list": node("ListNode", "sklearn.svm._classes", "SVC", content=[]),
        "class as array": node(
            "NdArrayNode", scorer, "make_scorer", type="numpy", file="x.npy"
        ),
        "no estimator": node("ObjectNode", "sklearn.utils._set_output", "ADAPTERS"),
        "unknown module": node("ObjectNode", "sklearn.conftest", "pytest"),
        "packed zeros": node(
            "SparseMatrixNode",
            "scipy.sparse._coo",
            "coo_array",
            type="scipy",
            file="x.bin",
        ),
        "references": nested,
        "method of a scorer": node(
            "ObjectNode",
            scorer,
            "_Scorer",
            content=mapping(_response_method=text("__setstate__")),
        ),
        "name of a method": node(
            "ObjectNode",
            "sklearn.preprocessing._data",
            "StandardScaler",
            content=mapping(transform=text(1)),
        ),
        "slow generator": node(
            "RandomGeneratorNode",
            "numpy.random._generator",
            "Generator",
            content={
                "bit_generator": mapping(bit_generator=text("PCG64")),
                "seed_seq": mapping(entropy=text(1), pool_size=text(10**6)),
            },
        ),
        "array of nothing": node(
            "NdArrayNode", "numpy", "ndarray", type="numpy", file="empty.npy"
        ),
    }
    empty = bad_array(shape=(10**9,), dtype="|V0", data=b"")
    members = {"x.bin": packed.getvalue(), "x.npy": bad_array(), "empty.npy": empty}
    for name, tree in trees.items():
        schema = json.dumps(tree | {"protocol": 2, "_skops_version": "0.16.0"})
        used = {n: m for n, m in members.items() if n in schema}
        content = zipped(("schema.json", schema), *used.items())
        yield f"node {name}", with_skops(forest, content)
    old = skops_with_schema(lambda t: t.replace(b'"protocol": 2', b'"protocol": 0'))
    yield "node of another protocol", with_skops(forest, old)


def numbers_in(value, path=()):
    """Yield where numbers stand in JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        if isinstance(part, dict | list):
            yield from numbers_in(part, (*path, key))
        elif type(part) in (int, float):
            yield (*path, key)


def with_large_numbers(content):
    """Replace each number of the parameters and of the learned state by a large one."""

    def put(described, path, value):
        for key in path[:-1]:
            described = described[key]
        described[path[-1]] = value

    members = read_archive(content)
    net = json.loads(members["model.json"])["model"]["net"]
    for path in numbers_in(net["parameters"]):
        for value in (2**31, 1e300, -(2**70)):
            yield with_json(
                content,
                lambda m, p=path, v=value: put(m["model"]["net"]["parameters"], p, v),
            )
    weights = members["weights/0.safetensors"]
    size = int.from_bytes(weights[:8], "little")
    state = json.loads(
        json.loads(weights[8 : 8 + size])["__metadata__"]["skastro_state"]
    )
    for path in numbers_in(state["state"]):
        for value in (2**31, -(2**70)):

            def change(header, p=path, v=value):
                described = json.loads(header["__metadata__"]["skastro_state"])
                put(described["state"], p, v)
                header["__metadata__"]["skastro_state"] = json.dumps(described)

            yield with_header(content, change)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Open all files in another process; give what happened, by their names."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 24)).astype(np.float32), np.arange(40) % 2
    images = rng.uniform(size=(30, 16, 16, 3)).astype(np.float32)
    net = make_tiny(SpectrumClassifier, max_epochs=1)
    forest = make_pipeline(StandardScaler(), net)
    galaxies = make_tiny(GalaxyClassifier, max_epochs=1)
    for name, model, samples in (
        ("net", net, X),
        ("images", galaxies, images),
        ("forest", forest, X),
    ):
        model.fit(samples, y[: len(samples)])
        save_model(model, folder / f"good-{name}.skastro")
    good = [(folder / f"good-{n}.skastro").read_bytes() for n in ("net", "images")]
    last = (folder / "good-forest.skastro").read_bytes()
    canary = folder / "canary"
    for name, content in hostile_files(*good, last, canary):
        name = name.replace("/", "_").replace(" ", "-")
        (folder / f"bad-{name}.skastro").write_bytes(content)
    for i, content in enumerate(with_large_numbers(good[0])):
        (folder / f"number-{i}.skastro").write_bytes(content)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(skastro.__file__).parents[1])},
    )
    assert not canary.exists()
    return json.loads(run.stdout)


def test_good_files_are_opened(opened):
    good = [name for name in opened if name.startswith("good")]
    assert len(good) == 3
    assert [opened[name][0] for name in good] == ["", "", ""]


def test_bad_files_end_in_one_clear_error(opened):
    bad = {name: result for name, result in opened.items() if name.startswith("bad")}
    assert len(bad) > 120
    wrong = {n: result for n, result in bad.items() if result[0] != "ValueError"}
    assert wrong == {}
    for name, (_, message, *_) in bad.items():
        assert f"{name}.skastro" in message
        assert len(message) < 1500


def test_files_with_large_numbers_are_opened_or_refused(opened):
    numbers = {name: r for name, r in opened.items() if name.startswith("number")}
    assert len(numbers) > 50
    assert {result[0] for result in numbers.values()} <= {"ValueError", ""}


def test_no_file_takes_memory(opened):
    taken = {name: result[2] for name, result in opened.items() if result[2] > 3e7}
    assert taken == {}
    assert sum(result[2] for result in opened.values()) < 1e8


def test_no_file_runs_anything(opened):
    assert {name: result[3] for name, result in opened.items() if result[3]} == {}


def test_other_kinds_of_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_model(tmp_path / "missing.skastro")
    with pytest.raises(IsADirectoryError, match="folder"):
        load_model(tmp_path)
    with pytest.raises(TypeError, match="module is 3, but must be a class"):
        load_model(tmp_path / "missing.skastro", 3)
