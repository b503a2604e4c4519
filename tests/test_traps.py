"""The surprises of the API that an implementer would get wrong, each with the tests that would notice.

The list is that of the platform's wire contract; what a trap says stands beside its number.
"""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
TRAPS = {
    "01 lossConfig without method means GRPO": [
        "blocks/test_client_jobs.py::test_a_job_without_a_loss_is_sent_as_dpo_by_name",
        "contract/test_fireworks_sdk.py::test_a_loss_without_a_method_is_not_taken_for_dpo",
    ],
    "02 the SDK's types lack orpo": ["contract/test_fireworks_sdk.py::test_orpo_which_the_types_lack_passes_through"],
    "03 job and deployment IDs in the query, dataset and evaluator IDs in the body": [
        "blocks/test_client_jobs.py::test_the_id_goes_into_the_query_and_the_rest_where_it_belongs",
        "blocks/test_client_datasets.py::test_a_dataset_is_created_as_the_api_wants_it",
        "blocks/test_client_serving.py::test_a_deployment_for_evaluation_costs_nothing_while_idle",
        "blocks/test_client_evaluators.py::test_an_evaluator_is_created_uploaded_and_awaited",
    ],
    "04 hyperparameters are nested in trainingConfig": [
        "blocks/test_client_jobs.py::test_the_id_goes_into_the_query_and_the_rest_where_it_belongs",
    ],
    "05 no progress, cost, evaluation set or early stop on a job": [
        "blocks/test_client_jobs.py::test_metrics_of_any_keys_are_read",
        "blocks/test_client_jobs.py::test_there_are_no_metrics_until_there_is_a_file",
        "preference/test_splits.py::test_no_prompt_on_both_sides_and_no_order_matters",
        "preference/test_plan.py::test_training_tokens_are_billed_as_the_api_bills_them",
    ],
    "06 no DPO format, exampleCount wanted, int64 as text": [
        "blocks/test_client_datasets.py::test_a_dataset_is_created_as_the_api_wants_it",
        "contract/test_documented_examples.py::test_values_are_read_into_proper_types",
        "local_server/test_datasets.py::test_a_create_is_checked",
    ],
    "07 splitDataset cannot make 80/20": ["preference/test_splits.py::test_the_split_by_its_definition"],
    "08 beta under 0.5, context a multiple of 16, legacy fields rejected": [
        "blocks/test_client_jobs.py::test_what_would_fail_is_not_sent",
        "contract/test_fireworks_sdk.py::test_what_the_trainer_rejects_is_a_bad_request",
    ],
    "09 one-turn rows only, and what is left out is said": [
        "local_server/test_rows.py::test_a_bad_row_is_refused_with_its_line",
        "preference/test_formats.py::test_a_row_of_no_use_is_dropped_under_its_rule",
        "flows/test_preference_learning.py::test_the_plan_names_what_was_converted_dropped_and_left_out",
    ],
    "10 supervisedLoraTunable is the flag, and refusal is real": [
        "blocks/test_client_models.py::test_only_the_two_flags_together_make_a_model_tunable",
        "blocks/test_client_models.py::test_a_model_that_cannot_be_tuned_is_refused_with_the_nearest_that_can",
        "blocks/test_client_models.py::test_a_dated_list_counts_only_where_the_platform_is_silent",
    ],
    "11 DPO counts the prompt twice, ORPO's price is undocumented": [
        "preference/test_plan.py::test_training_tokens_are_billed_as_the_api_bills_them",
        "preference/test_plan.py::test_orpo_is_priced_as_dpo_and_the_plan_says_that_it_is_a_guess",
        "local_server/test_billing.py::test_a_pair_is_billed_twice_its_prompt_and_once_each_answer",
    ],
    "12 LoRA is never serverless": [
        "preference/test_plan.py::test_the_plan_prices_training_by_model_size_and_deployments_by_the_hour",
        "blocks/test_client_serving.py::test_an_adapter_is_loaded_once_though_the_platform_names_it",
        "local_server/test_serving.py::test_an_adapter_is_loaded_only_where_it_fits",
    ],
    "13 the preview has the first hour and a range": [
        "preference/test_plan.py::test_the_plan_prices_training_by_model_size_and_deployments_by_the_hour",
    ],
    "14 the sweep's best run ships, after an approval at the comparison": [
        "flows/test_preference_learning.py::test_from_pairs_to_a_deployed_and_measured_model",
        "flows/test_preference_learning.py::test_stop_at_the_comparison_deploys_nothing",
    ],
    "15 READY is not serving": [
        "blocks/test_client_serving.py::test_scaling_up_is_waited_for_as_documented",
        "local_server/test_serving.py::test_a_deployment_is_ready_before_it_serves",
        "contract/test_fireworks_sdk.py::test_a_deployment_scaled_to_zero_answers_503_at_once",
    ],
    "16 creates are sent again: choose the ID, then get and compare": [
        "blocks/test_client_jobs.py::test_after_an_unclear_create_the_job_is_looked_for_and_adopted",
        "contract/test_faults.py::test_exactly_one_of_each_exists_whatever_the_faults",
        "contract/test_fireworks_sdk.py::test_the_same_job_id_again_is_a_conflict",
    ],
    "17 three forms of a model's address": [
        "blocks/test_client_serving.py::test_the_forms_of_a_model_are_tried_in_the_documented_order",
        "contract/test_fireworks_sdk.py::test_a_live_merge_answers_to_all_three_addresses",
    ],
    "18 an overridden base_url drops /inference": [
        "local_server/test_serving.py::test_both_prefixes_answer",
        "contract/test_openai_sdk.py::test_a_completion_has_its_usage",
        "flows/test_preference_learning.py::test_the_report_s_snippet_runs_as_it_stands",
    ],
    "19 two exact headers; validating early wedges the dataset": [
        "local_server/test_datasets.py::test_a_signed_put_wants_exactly_its_two_headers_and_its_size",
        "local_server/test_datasets.py::test_validating_before_the_bytes_have_landed_wedges_the_dataset",
        "blocks/test_client_datasets.py::test_nothing_is_validated_while_bytes_are_missing",
        "blocks/test_client_datasets.py::test_a_wedged_dataset_is_explained",
    ],
    "20 ignoreChecks, and idle replicas cost": [
        "blocks/test_client_serving.py::test_a_deployment_is_deleted_in_spite_of_recent_traffic",
        "blocks/test_client_serving.py::test_one_that_cannot_be_deleted_is_scaled_to_zero_first",
        "local_server/test_serving.py::test_idle_deployments_scale_to_zero_and_come_back",
        "local_server/test_billing.py::test_replicas_are_charged_by_the_second_and_start_up_is_not",
    ],
    "21 archives have a root folder, entry points are pytest's, functions of three kinds": [
        "blocks/test_client_evaluators.py::test_an_archive_comes_back_as_its_root",
        "blocks/test_evaluator_source.py::test_entry_points_in_both_forms",
        "blocks/test_evaluator_source.py::test_what_it_wants_in_one_run_is_read_from_its_source",
        "blocks/test_evaluator_shapes.py::test_a_coroutine_that_runs_programs_from_completions",
        "blocks/test_evaluator_shapes.py::test_a_group_is_the_rows_of_one_prompt",
    ],
    "22 an evaluator's score of the base, too; else a pairwise rate in both orders": [
        "preference/test_stats_judging.py::test_scores_of_an_evaluator_are_paired_with_the_opponents",
        "preference/test_stats.py::test_a_prompt_is_won_only_in_both_orders",
    ],
    "23 a target stops early": [
        "flows/test_early_stop.py::test_at_the_target_what_runs_is_cancelled_and_what_waits_is_not_started",
    ],
    "24 held-out prompts make no pairs": ["flows/test_pairs.py::test_prompts_become_pairs_and_these_are_trained_on"],
    "25 limits are the account's, and at the spend limit all stops": [
        "blocks/test_client_bulk.py::test_one_limit_for_each_address_account_and_model",
        "blocks/test_client_bulk.py::test_an_overloaded_model_is_asked_less_until_it_can_follow",
        "blocks/test_client_bulk.py::test_at_the_monthly_spend_limit_everything_stops",
    ],
    "26 an evaluator's own flow can upload": [
        "blocks/test_evaluators.py::test_an_evaluator_is_told_to_upload_nothing",
        "blocks/test_sandbox.py::test_no_socket_can_be_opened",
    ],
    "27 the hosted Agent has no contract: behaviour is reproduced, not paths": [
        "flows/test_preference_learning.py::test_from_pairs_to_a_deployed_and_measured_model",
    ],
}


@functools.cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_has_its_tests(trap):
    for place in TRAPS[trap]:
        path, name = place.split("::")
        assert name in functions_of(path), f"{trap}: {place} is gone; name the test that takes its place"


def test_no_trap_is_left_out():
    assert [int(trap[:2]) for trap in TRAPS] == list(range(1, 28))
