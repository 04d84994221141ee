# SPDX-License-Identifier: BSD-3-Clause
"""What predict reads and writes: arrays in any place, results in any format."""

import csv
import os
from collections import Counter

import dask
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import torch
import zarr
from distributed import Client, get_client
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from skastro import SpectrumClassifier, save_model
from skastro.distributed import predict
from skastro.streaming import predict_stream
from skastro.utils import LazyArray

# The oldest zarr warns when it reads text.
pytestmark = pytest.mark.filterwarnings("ignore:.*vlen-utf8")
# Of the fixture `run`: rows or files of a partition.
PARTITION_SIZE = 10
IDS = np.array([f"Gaia {number}" for number in range(103)])


def read_hdf5(path):
    with h5py.File(path) as file:
        return {
            name: data.asstr()[:] if h5py.check_string_dtype(data.dtype) else data[:]
            for name, data in file.items()
        }


def read_zarr(path):
    group = zarr.open_group(path, mode="r")
    return {name: array[:] for name, array in group.arrays()}


LARGE = {"partition_size": 1500}


def widened(rows):
    return np.repeat(rows, 200, axis=1).astype(float)


# Formats ------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [None, IDS, np.arange(103)], ids=["no", "text", "int"])
def test_formats_hold_the_same(run, model, X, ids):
    expected = model.predict_proba(X)
    hdf5 = read_hdf5(run(model, X, "a.h5", ids=ids))
    store = run(model, X, "a.zarr", ids=ids)
    for found in (hdf5, read_zarr(store)):
        assert {*found} - {"id"} == {"predict_proba", "classes"}
        assert_allclose(found["predict_proba"], expected, rtol=1e-6)
        assert found["predict_proba"].dtype == expected.dtype
        assert_array_equal(found["classes"].tolist(), model.classes_)
        assert ("id" in found) == (ids is not None)
        assert_array_equal(found.get("id", np.array(ids)).tolist(), ids)
    assert zarr.open_group(store, mode="r").attrs["method"] == "predict_proba"
    with open(run(model, X, "a.csv", ids=ids), encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    first = "row" if ids is None else "id"
    rows = np.arange(103) if ids is None else ids
    names = [f"probability_{name}" for name in model.classes_]
    assert header == [first, *names]
    assert_array_equal([line[0] for line in lines], rows.astype(str))
    assert_allclose(np.array(lines)[:, 1:].astype(float), expected, rtol=1e-6)
    table = pd.read_parquet(run(model, X, "a.parquet", ids=ids))
    assert table.columns.tolist() == [first, "class", *names]
    assert_array_equal(table[first], rows)
    assert_array_equal(table["class"], model.predict(X))
    assert_allclose(table[names], expected, rtol=1e-6)


def test_same_bytes_as_in_one_process(run, model, X, tmp_path):
    out = predict_stream(model, X, 10, out=tmp_path / "b.csv", ids=IDS, verbose=0)
    assert run(model, X, "a.csv", ids=IDS).read_bytes() == out.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "b.csv"]


def test_labels_and_features(run, model, X):
    found = read_hdf5(run(model, X, method="predict"))
    assert_array_equal(found["predict"], model.predict(X))
    found = read_zarr(run(model, X, "a.zarr", method="predict"))
    assert_array_equal(found["predict"].tolist(), model.predict(X))
    pca = PCA(2).fit(X)
    found = read_zarr(run(pca, X, "a.zarr"))
    assert_allclose(found["transform"], pca.transform(X), rtol=1e-5)
    assert found["feature_names"].tolist() == ["pca0", "pca1"]
    table = pd.read_parquet(run(pca, X, "a.parquet"))
    assert table.columns.tolist() == ["row", "pca0", "pca1"]
    clusters = KMeans(3, n_init=1, random_state=0).fit(X)
    found = read_hdf5(run(clusters, X, method="predict"))
    assert found["predict"].dtype == np.int32
    assert_array_equal(found["predict"], clusters.predict(X))


def test_error_bars(run, X):
    model = BayesianRidge().fit(X, X[:, 0])
    expected, std = model.predict(X, return_std=True)
    table = pd.read_parquet(run(model, X, "a.parquet", return_std=True))
    assert_allclose(table["predict"], expected, rtol=1e-5, atol=1e-6)
    assert_allclose(table["predict_std"], std, rtol=1e-5)
    found = read_hdf5(run(model, X, return_std=True))
    assert_allclose(found["predict_std"], std, rtol=1e-5)
    lazy = predict(model, da.from_array(X, chunks=50), return_std=True)
    assert_allclose(
        np.stack(dask.compute(*lazy)), [expected, std], rtol=1e-5, atol=1e-6
    )


def test_results_of_several_axes(run, X):
    images = FunctionTransformer(lambda rows: rows.reshape(-1, 2, 3), validate=False)
    found = read_zarr(run(images, X, "a.zarr"))
    assert_array_equal(found["transform"], X.reshape(-1, 2, 3))


def test_large_tables_have_few_files(run, tmp_path):
    X = np.zeros((200_001, 1), np.uint8)
    same = FunctionTransformer(validate=False)
    out = run(same, X, "a.parquet", partition_size=50_000)
    assert sorted(os.listdir(out)) == ["part-00000.parquet", "part-00001.parquet"]
    assert pd.read_parquet(out)["row"].tolist() == list(range(len(X)))


def test_wide_tables_have_files_of_bounded_size(run):
    X = np.arange(60_000)[:, None]
    out = run(FunctionTransformer(widened, validate=False), X, "a.parquet", **LARGE)
    assert sorted(os.listdir(out)) == ["part-00000.parquet", "part-00001.parquet"]
    table = pd.read_parquet(out, columns=["row", "x199"])
    assert_array_equal(table["row"], np.arange(60_000))
    assert_array_equal(table["x199"], X[:, 0])


def test_chunks_of_a_store_are_written_once(run, monkeypatch):
    X = np.arange(60_000)[:, None]
    writes, write = Counter(), zarr.Array.__setitem__

    def count(array, rows, values):
        writes[array.name] += 1
        write(array, rows, values)

    monkeypatch.setattr(zarr.Array, "__setitem__", count)
    wide = FunctionTransformer(widened, validate=False)
    group = zarr.open_group(run(wide, X, "a.zarr", ids=X[:, 0], **LARGE), mode="r")
    values = group["transform"]
    assert values.chunks[0] < len(X)
    assert_array_equal(values[:, 199], X[:, 0])
    assert_array_equal(group["id"][:], X[:, 0])
    assert writes["/id"] == 1
    assert writes["/transform"] <= values.nchunks


def test_older_results_are_replaced(run, model, X, tmp_path):
    for name in ("a.zarr", "a.parquet"):
        run(model, X, name)
        run(model, X[:50], name)
    assert len(read_zarr(tmp_path / "a.zarr")["predict_proba"]) == 50
    assert len(pd.read_parquet(tmp_path / "a.parquet")) == 50
    assert sorted(os.listdir(tmp_path)) == ["a.parquet", "a.zarr"]


# Sources ------------------------------------------------------------------------------


@pytest.fixture(
    params=[
        "memmap",
        "hdf5",
        "hdf5 in memory",
        "zarr",
        "zarr in memory",
        "lazy",
        "part",
    ]
)
def stored(request, X, tmp_path):
    """Yield the rows in one of the containers."""
    if request.param == "memmap":
        X.tofile(tmp_path / "X.bin")
        yield np.memmap(tmp_path / "X.bin", np.float32, mode="r", shape=X.shape)
    elif request.param.startswith("hdf5"):
        in_memory = {"driver": "core", "backing_store": False}
        options = in_memory if "memory" in request.param else {}
        with h5py.File(tmp_path / "X.h5", "w", **options) as file:
            file["X"] = X
            file.flush()
            yield file["X"]
    elif request.param.startswith("zarr"):
        path = None if "memory" in request.param else tmp_path / "X.zarr"
        yield zarr.create_array({} if path is None else path, data=X, chunks=(7, 6))
    elif request.param == "lazy":
        yield LazyArray(X)
    else:
        yield LazyArray(X[::-1].copy(), rows=np.arange(len(X))[::-1])


def test_arrays(run, model, X, stored):
    found = read_hdf5(run(model, stored))
    assert_allclose(found["predict_proba"], model.predict_proba(X), rtol=1e-6)


def test_tables_in_memory_keep_their_names(run, X):
    table = pd.DataFrame(X[:, :3], columns=["u", "g", "source"])
    model = LogisticRegression().fit(table, X[:, 0] > 0)
    found = read_hdf5(run(model, table, ids=table["u"]))
    assert_allclose(found["predict_proba"], model.predict_proba(table), rtol=1e-6)
    with pytest.raises(ValueError, match="feature names"):
        run(model, table[["g", "u", "source"]])


@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_stores(run, model, X, kind, tmp_path):
    path, expected = tmp_path / f"survey.{kind}", model.predict_proba(X)
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file["flux"], file["other"] = X, X + 1
            file["id"], file["names"] = np.arange(103), IDS.astype("S")
            file["deep/spectra"], file["deep/id"] = X - 1, IDS.astype("S")
    else:
        zarr.open_group(path, mode="w")
        for name, values in {"flux": X, "other": X + 1, "id": np.arange(103)}.items():
            zarr.create_array(path, name=name, data=values)
        zarr.create_array(path, name="deep/spectra", data=X - 1)
        zarr.create_array(path, name="deep/id", data=np.arange(1, 104))
        zarr.create_array(path, name="names", data=np.arange(2, 105))
    found = read_hdf5(run(model, path))
    assert_allclose(found["predict_proba"], expected, rtol=1e-6)
    assert_array_equal(found["id"], np.arange(103))
    found = read_hdf5(run(model, os.fspath(path), name="other", ids="names"))
    assert_allclose(found["predict_proba"], model.predict_proba(X + 1), rtol=1e-5)
    assert_array_equal(found["id"], IDS if kind == "h5" else np.arange(2, 105))
    found = read_hdf5(run(model, path, name="deep/spectra"))
    assert_allclose(found["predict_proba"], model.predict_proba(X - 1), rtol=1e-5)
    assert_array_equal(found["id"], IDS if kind == "h5" else np.arange(1, 104))
    with pytest.raises(ValueError, match=r"no array 'color'; it holds: .*flux"):
        run(model, path, name="color")


def test_blocks_of_dask(run, model, X, tmp_path):
    blocks = da.from_array(X, chunks=((50, 3, 0, 50), (4, 2)))
    found = read_hdf5(run(model, blocks, partition_size=None, ids=IDS))
    assert_allclose(found["predict_proba"], model.predict_proba(X), rtol=1e-6)
    assert_array_equal(found["id"], IDS)
    table = pd.read_parquet(run(model, blocks, "a.parquet", partition_size=None))
    assert_array_equal(table["class"], model.predict(X))
    out = run(model, blocks, "a.csv", partition_size=None, method="predict")
    assert_array_equal(pd.read_csv(out)["predict"], model.predict(X))
    found = read_hdf5(run(model, blocks, partition_size=40))
    assert_allclose(found["predict_proba"], model.predict_proba(X), rtol=1e-6)


def write_table(path, X, **options):
    names = np.arange(len(X)) + 2**60
    flux = pyarrow.array(list(X), pyarrow.list_(pyarrow.float32()))
    pyarrow.parquet.write_table(
        pyarrow.table({"object_id": names, "ra": names * 0.1, "flux": flux}),
        path,
        **options,
    )


def test_tables(run, model, X, tmp_path):
    folder = tmp_path / "catalog" / "dataset" / "Norder=0" / "Dir=0"
    folder.mkdir(parents=True)
    write_table(folder / "Npix=1.parquet", X[:60], row_group_size=4)
    write_table(folder / "Npix=2.parquet", X[60:], row_group_size=40)
    write_table(folder / "_metadata.parquet", X)
    (tmp_path / "catalog" / "point_map.fits").touch()
    with pytest.raises(ValueError, match="holds survey files and tables"):
        run(model, tmp_path / "catalog")
    (tmp_path / "catalog" / "hats.properties").touch()
    expected = model.predict_proba(X)
    found = read_hdf5(run(model, tmp_path / "catalog"))
    assert set(found) == {"predict_proba", "classes", "id", "failure"}
    assert_allclose(found["predict_proba"], expected, rtol=1e-6)
    assert_array_equal(found["id"] - 2**60, [*range(60), *range(43)])
    assert set(found["failure"]) == {""}
    table = pd.read_parquet(
        run(model, folder / "Npix=1.parquet", "b.parquet", ids="ra")
    )
    assert_array_equal(table["id"], 0.1 * (np.arange(60) + 2**60))
    with pytest.raises(
        ValueError, match=r"no column 'color'; it has: object_id, ra, fl"
    ):
        run(model, tmp_path / "catalog", ids="color")
    with pytest.raises(ValueError, match=r"1 columns of lists.*: flux; 'ra' is none"):
        run(model, tmp_path / "catalog", name="ra")


def test_missing_spectra_of_a_table(run, model, X, tmp_path):
    rows = list(X)
    rows[0], rows[57], rows[58] = None, rows[57][:3], []
    write_table(tmp_path / "X.parquet", rows, row_group_size=20)
    with pytest.warns(UserWarning, match="3 of 103 rows .* it has no 6 values"):
        table = pd.read_parquet(run(model, tmp_path / "X.parquet", "a.parquet"))
    bad = np.flatnonzero(table["failure"] != "")
    assert_array_equal(bad, [0, 57, 58])
    assert table["failure"][57] == "it has no 6 values"
    names = [f"probability_{name}" for name in model.classes_]
    assert table.loc[bad, ["class", *names]].isna().all(axis=None)
    good = table.drop(bad)
    expected = model.predict_proba(np.delete(X, bad, axis=0))
    assert_allclose(good[names], expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:20 of 103 rows have no result")
def test_partitions_without_a_result(run, model, X, tmp_path):
    rows = [None if 20 <= row < 40 else flux for row, flux in enumerate(X)]
    write_table(tmp_path / "X.parquet", rows, row_group_size=20)
    bad = np.arange(20, 40)
    for method in ("predict_proba", "predict"):
        with pytest.warns(UserWarning, match="20 of 103 rows have no result"):
            out = run(model, tmp_path / "X.parquet", "a.parquet", method=method)
        table = pd.read_parquet(out)
        assert table["failure"].str.len().to_numpy().nonzero()[0].tolist() == [*bad]
        labels = table["class" if method == "predict_proba" else method]
        assert labels[bad].isna().all() or set(labels[bad]) == {""}
        assert_array_equal(labels.drop(bad), np.delete(model.predict(X), bad))


def test_ids_of_several_types(run, model, X, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()

    def write(name, ids):
        flux = list(X[: len(ids)])
        table = pyarrow.table({"id": ids, "flux": flux})
        pyarrow.parquet.write_table(table, folder / name)

    write("a.parquet", np.array([1, 2**63 - 1]))
    write("b.parquet", np.array([3, 4], np.int32))
    for out in ("out.parquet", "out.zarr", "out.h5"):
        found = run(model, folder, out)
        read = {".parquet": pd.read_parquet, ".zarr": read_zarr, ".h5": read_hdf5}
        assert read[found.suffix](found)["id"].tolist() == [1, 2**63 - 1, 3, 4]
    write("b.parquet", np.array([3, 4], np.uint64))
    with pytest.raises(TypeError, match="int64, uint64, which only floats hold"):
        run(model, folder)
    write("b.parquet", ["3", "4"])
    with pytest.raises(TypeError, match="either text or numbers"):
        run(model, folder)


def test_large_labels_beside_failures(run, X, tmp_path):
    write_table(tmp_path / "X.parquet", X)
    labels = np.where(X[:, 0] > 0, 2**53, 3)
    model = LogisticRegression().fit(X, labels)
    arguments = {"X": tmp_path / "X.parquet", "method": "predict"}
    found = read_hdf5(run(model, **arguments))["predict"]
    assert_array_equal(found.astype(int), model.predict(X))
    for method in ("predict", "transform"):
        if method == "predict":
            model = LogisticRegression().fit(X, labels + 1)
        else:
            model = FunctionTransformer(beyond_floats, validate=False)
        with pytest.raises(TypeError, match="9007199254740993, which is rounded"):
            run(model, tmp_path / "X.parquet", method=method)


def beyond_floats(rows):
    return np.where(rows[:, :1] > 0, 2**53 + 1, 3)


# Lazily -------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_lazy_array(model, X, scheduler):
    survey = da.from_array(X, chunks=((50, 0, 53), (4, 2)))
    lazy = predict(model, survey)
    assert lazy.chunks == ((50, 0, 53), (3,))
    assert lazy.dtype == model.predict_proba(X).dtype
    found = lazy.compute(scheduler=scheduler)
    assert found.dtype == lazy.dtype
    assert_allclose(found, model.predict_proba(X), rtol=1e-6)
    best = lazy.argmax(axis=1).compute(scheduler=scheduler)
    assert_array_equal(model.classes_[best], model.predict(X))
    labels = predict(model, survey, method="predict", partition_size=20)
    assert labels.chunks[0] == (20, 20, 20, 20, 20, 3)
    found = labels.compute(scheduler=scheduler)
    assert found.dtype == labels.dtype
    assert_array_equal(found, model.predict(X))


def test_lazy_array_computes_nothing(model, X):
    def fail(block):
        raise AssertionError

    survey = da.from_array(X, chunks=50).map_blocks(fail, meta=np.empty((0, 0), "f4"))
    lazy = predict(model, survey)
    with pytest.raises(AssertionError):
        lazy.compute(scheduler="sync")


def test_lazy_array_on_a_cluster(model, X, client, tmp_path):
    survey = da.from_array(X, chunks=(20, 6))
    lazy = predict(model, survey)
    client.compute(lazy.to_zarr(str(tmp_path / "a.zarr"), compute=False), sync=True)
    found = zarr.open_array(tmp_path / "a.zarr", mode="r")[:]
    assert_allclose(found, model.predict_proba(X), rtol=1e-6)


# The estimator and the cluster --------------------------------------------------------


def test_network_and_its_file(run, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 30)).astype(np.float32)
    net = SpectrumClassifier("mlp", max_epochs=1, verbose=0, random_state=0)
    net.fit(X, np.repeat(["star", "quasar"], 30))
    save_model(net, tmp_path / "net.skastro")
    expected = net.predict_proba(X)
    survey = da.from_array(X, chunks=(25, 30))
    for estimator in (net, tmp_path / "net.skastro", f"{tmp_path}/net.skastro"):
        found = read_hdf5(run(estimator, X))
        assert_allclose(found["predict_proba"], expected, rtol=1e-4)
        found = predict(estimator, survey).compute(scheduler="sync")
        assert_allclose(found, expected, rtol=1e-4)


def test_current_client_is_taken(model, X, tmp_path):
    with Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0"
    ) as current:
        out = predict(model, X, out=tmp_path / "a.h5", verbose=0)
        assert get_client() is current
    assert_allclose(read_hdf5(out)["predict_proba"], model.predict_proba(X), rtol=1e-6)


@pytest.fixture
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def n_threads(rows):
    return np.full((len(rows), 1), torch.get_num_threads())


@pytest.mark.usefixtures("_two_threads")
def test_tasks_have_one_thread(run, X):
    counts = FunctionTransformer(n_threads, validate=False)
    found = read_hdf5(run(counts, X))["transform"]
    assert set(found.ravel()) == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("_two_threads")
def test_workers_with_gpus_are_asked_for_them(run, X):
    counts = FunctionTransformer(n_threads, validate=False)
    with Client(
        processes=False,
        n_workers=1,
        threads_per_worker=2,
        resources={"GPU": 1},
        dashboard_address=":0",
        set_as_default=False,
    ) as client:
        found = read_hdf5(run(counts, X, client=client))["transform"]
    # On a GPU the limit of the CPU's threads does not matter.
    assert set(found.ravel()) == {2}


def test_gpus_of_which_pytorch_knows_nothing(run, model, X, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with (
        Client(
            processes=False,
            n_workers=1,
            resources={"GPU": 1},
            dashboard_address=":0",
            set_as_default=False,
        ) as client,
        pytest.raises(RuntimeError, match="declares the resource GPU, but its PyTorch"),
    ):
        run(model, X, client=client)


def test_progress_is_shown_unless_quiet(run, model, X, capsys):
    run(model, X)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    run(model, X, verbose=1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "103/103" in captured.err
    assert "rows/s" in captured.err
