"""A bundle whose model has other findings: some columns of a given one, under names of their own."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx

from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.card import write_card


def with_findings(bundle: Path, columns: Mapping[str, int], folder: Path) -> Path:
    """Copy a bundle; each of its findings is a column of the model that was."""
    shutil.copytree(bundle, folder)
    card, places = Bundle(folder).card, list(columns.values())
    bias = tuple(card.bias[place] for place in places)
    model = onnx.load(folder / MODEL)
    for tensor in model.graph.initializer:
        if not tensor.name.startswith(("bias", "head_", "usual_maps")):
            continue
        array = onnx.numpy_helper.to_array(tensor)
        chosen = array[:, places] if tensor.name == "usual_maps" else array[places]
        tensor.CopyFrom(onnx.numpy_helper.from_array(chosen, tensor.name))
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[-1].dim_value = len(places)
    facts = {fact.key: fact.value for fact in model.metadata_props}
    facts |= {"findings": json.dumps(list(columns)), "bias": json.dumps(bias)}
    onnx.helper.set_model_props(model, facts)
    content = model.SerializeToString()
    (folder / MODEL).write_bytes(content)
    changes = {
        "findings": tuple(columns),
        "titles": tuple(card.titles[place] for place in places),
        "status": tuple(card.status[place] for place in places),
        "evidence": tuple(card.evidence[place] for place in places) if card.evidence else (),
        "bias": bias,
        "operating_points": {
            name: tuple(points[place] for place in places) for name, points in card.operating_points.items()
        },
        "explanation": tuple(card.explanation[place] for place in places) if card.explanation else (),
        "uncertain": tuple(card.uncertain[place] for place in places) if card.uncertain else (),
        "subgroups": (),
        "calibration": {name: card.calibration[card.findings[place]] for name, place in columns.items()},
        "model_sha256": hashlib.sha256(content).hexdigest(),
    }
    write_card(card.model_copy(update=changes), folder)
    return folder
