"""What predict.py says of a document is what the test set's predictions say of it."""

import json
from types import SimpleNamespace

import pytest
import torch
from test_classification_task import Data, made, tried

from manyheads.predictions.asked import Predict
from manyheads.predictions.clinical_long import lines


class New(Data):
    """The same documents, without labels and as a file of the user's."""

    origin = SimpleNamespace(columns=SimpleNamespace(text="text", name="name", question=()), cache="")

    def documents_of(self, texts, questions):
        assert texts == self.texts("test")
        return self.loader(), self.spans("test")


@pytest.mark.parametrize("multilabel", [False, True])
def test_predict_and_a_test_say_the_same_of_a_document(multilabel, tmp_path, monkeypatch):
    task, data = made(multilabel), New(multilabel)
    with torch.no_grad():
        task.model.table.weight[:3] = 0.0  # nothing is likelier than not in the first document
    _, tested = tried(tmp_path, task, data)
    rows = [{"name": f"test-{n}", "text": text} for n, text in enumerate(data.texts("test"))]
    table = SimpleNamespace(columns={key: [row[key] for row in rows] for key in rows[0]})
    table.column = lambda _, name: table.columns[name]
    monkeypatch.setattr("manyheads.predictions.clinical_long._open", lambda *_: table)
    run = SimpleNamespace(model=task.model, data=data, spec=task.spec)
    said = [json.loads(row) for row in lines(Predict("run", "notes.csv"), run)]
    for row in tested:
        del row["set"], row["truth"]
    assert said == [{"name": row.pop("document"), **row} for row in tested]
    assert said[0]["label"] == ([] if multilabel else "cold")
