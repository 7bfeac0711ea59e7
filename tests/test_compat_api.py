"""The names and signatures of Ignite 0.5.5 that exist so far, as its specification lists them."""

import importlib
import inspect

import pytest

NAMES = {
    "ignite.engine": "State create_supervised_trainer create_supervised_evaluator Engine DeterministicEngine Events "
    "EventsList EventEnum CallableEventWithFilter RemovableEventHandle supervised_training_step "
    "supervised_training_step_amp supervised_training_step_apex supervised_training_step_tpu "
    "supervised_evaluation_step supervised_evaluation_step_amp _prepare_batch _check_arg",
    "ignite.engine.engine": "Engine",
    "ignite.engine.events": "CallableEventWithFilter EventEnum Events State EventsList RemovableEventHandle",
    "ignite.engine.deterministic": "update_dataloader keep_random_state ReproducibleBatchSampler DeterministicEngine",
    "ignite.base": "Serializable ResettableHandler",
    "ignite.base.mixins": "Serializable ResettableHandler",
    "ignite.exceptions": "NotComputableError",
    "ignite.utils": "convert_tensor apply_to_tensor apply_to_type to_onehot setup_logger manual_seed hash_checkpoint "
    "deprecated _to_str_list _tree_map _tree_apply2 _CollectionItem",
    "ignite._utils": "apply_to_tensor apply_to_type convert_tensor to_onehot",
    "ignite.contrib.engines": "Tbptt_Events create_supervised_tbptt_trainer",
    "ignite.contrib.engines.tbptt": "Tbptt_Events create_supervised_tbptt_trainer",
    "ignite.metrics": "Metric Accuracy Loss Average VariableAccumulation MetricUsage EpochWise BatchWise BatchFiltered",
    "ignite.metrics.metric": "Metric sync_all_reduce reinit__is_reduced RunningEpochWise RunningBatchWise "
    "SingleEpochRunningBatchWise",
    "ignite.distributed": "backend device get_rank get_world_size get_local_rank get_nnodes get_node_rank "
    "get_nproc_per_node hostname model_name available_backends all_reduce all_gather broadcast barrier one_rank_only "
    "one_rank_first initialize finalize show_config set_local_rank sync has_native_dist_support has_xla_support "
    "has_hvd_support",
}
STEP = "model optimizer loss_fn device=None non_blocking=False prepare_batch=* model_transform=* output_transform=*"
SIGNATURES = {
    "Engine": "process_function",
    "Engine.run": "self data=None max_epochs=None max_iters=None epoch_length=None",
    "Engine.terminate": "self skip_completed=False",
    "Engine.terminate_epoch": "self skip_epoch_completed=False",
    "Engine.interrupt": "self",
    "Engine.set_data": "self data",
    "Engine.fire_event": "self event_name",
    "Engine.on": "self event_name *args **kwargs",
    "Engine.add_event_handler": "self event_name handler *args **kwargs",
    "Engine.has_event_handler": "self handler event_name=None",
    "Engine.remove_event_handler": "self handler event_name",
    "Engine.register_events": "self *event_names event_to_attr=None",
    "Engine.has_registered_events": "self event",
    "Engine.load_state_dict": "self state_dict",
    "CallableEventWithFilter": "value event_filter=None name=None",
    "CallableEventWithFilter.__call__": "self event_filter=None every=None once=None before=None after=None",
    "RemovableEventHandle": "event_name handler engine",
    "State.get_event_attrib_value": "self event_name",
    "deterministic.ReproducibleBatchSampler": "batch_sampler start_iteration=None",
    "deterministic.update_dataloader": "dataloader new_batch_sampler",
    "deterministic.keep_random_state": "func",
    "supervised_training_step": f"{STEP} gradient_accumulation_steps=1 model_fn=*",
    "supervised_training_step_amp": f"{STEP} scaler=None gradient_accumulation_steps=1 model_fn=*",
    "supervised_training_step_apex": f"{STEP} gradient_accumulation_steps=1 model_fn=*",
    "supervised_training_step_tpu": f"{STEP} gradient_accumulation_steps=1 model_fn=*",
    "create_supervised_trainer": f"{STEP} deterministic=False amp_mode=None scaler=False gradient_accumulation_steps=1 "
    "model_fn=*",
    "supervised_evaluation_step": "model device=None non_blocking=False prepare_batch=* model_transform=* "
    "output_transform=* model_fn=*",
    "supervised_evaluation_step_amp": "model device=None non_blocking=False prepare_batch=* model_transform=* "
    "output_transform=* model_fn=*",
    "create_supervised_evaluator": "model metrics=None device=None non_blocking=False prepare_batch=* "
    "model_transform=* output_transform=* amp_mode=None model_fn=*",
    "_prepare_batch": "batch device=None non_blocking=False",
}


@pytest.mark.parametrize("module", NAMES)
def test_names_are_where_ignite_has_them(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures_are_ignites_with_new_parameters_only_by_keyword_and_at_the_end(path):
    thing = importlib.import_module("ignite.engine")
    for part in path.split("."):
        thing = getattr(thing, part)
    found = []
    for parameter in inspect.signature(thing).parameters.values():
        default = parameter.default
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
        if default is not parameter.empty:
            text += "=*" if callable(default) else f"={default!r}"
        found.append((text, parameter.kind))
    expected = SIGNATURES[path].split()
    assert [text for text, _ in found[: len(expected)]] == expected
    assert all(
        kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD) for _, kind in found[len(expected) :]
    )
