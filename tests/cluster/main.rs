//! What only a cluster can show, on one real node with the real operator, installed with helm: pods, Services, images,
//! garbage collection, processes that are killed. What an API server alone can show is tested without one.
//!
//! The node is held by this process, so that even a killed run leaves nothing behind. It needs root, and says so.
//! `PROBITY_TEST_NODE` names the node (left out: `test`), for two runs at once.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it expects by failing"
)]

#[path = "../fault_proxy/mod.rs"]
mod fault_proxy;
#[path = "../testbed/mod.rs"]
mod testbed;

mod adopted;
mod audit;
mod bed;
mod chart;
mod container;
mod door;
mod drain;
mod failing;
mod fetching;
mod harness;
mod isolated;
mod load;
mod measured;
mod models;
mod names;
mod network;
mod operator;
mod outside;
mod quarantine;
mod reach;
mod refused;
mod relay;
mod serving;
mod space;

use std::process::ExitCode;

use harness::{Selection, Test};

macro_rules! tests {
    ($($when:ident $module:ident::$name:ident,)*) => {
        &[$(Test {
            name: concat!(stringify!($module), "::", stringify!($name)),
            alone: matches!(stringify!($when).as_bytes(), b"alone"),
            run: |bed| Box::pin($module::$name(bed)),
        },)*]
    };
}

/// The longest first, so that none of them is still under way when all others are done; those that are alone, in order.
const TESTS: &[Test] = tests![
    together serving::altered_weights_never_start_and_a_good_version_takes_over,
    together measured::a_standard_model_is_held_and_one_trained_against_attacks_goes_live,
    together adopted::an_existing_deployment_is_found_told_about_and_repaired,
    together adopted::every_kind_of_workload_is_let_in_with_the_verified_model_alone,
    together serving::a_signed_model_serves_and_its_pod_can_do_nothing_else,
    together fetching::bytes_altered_in_the_registry_are_not_exposed,
    together fetching::a_fetch_killed_half_way_starts_over,
    together fetching::a_pull_secret_is_for_the_fetch_alone,
    together fetching::a_replaced_pod_gets_the_pinned_version,
    together failing::a_server_that_crashes_does_not_replace_one_that_serves,
    together failing::a_server_image_that_does_not_exist_is_named,
    together failing::a_model_larger_than_the_disk_says_so,
    together refused::an_unsigned_model_never_has_a_pod,
    together refused::a_model_signed_by_a_stranger_never_has_a_pod,
    together quarantine::a_revoked_model_loses_its_traffic_keeps_its_pod_and_is_released,
    together quarantine::an_adopted_workload_that_is_revoked_is_cut_off_and_released,
    together names::a_foreign_deployment_of_the_same_name_is_left_alone,
    together names::everything_of_a_deleted_model_goes,
    together isolated::a_model_talks_to_whom_it_declares_and_to_nobody_else,
    together network::policies_are_enforced,
    together operator::of_two_quick_edits_the_last_one_counts,
    together door::pods_that_no_model_answers_for_do_not_run,
    together door::a_model_whose_key_is_withdrawn_lives_on_and_a_revoked_one_is_not_replaced,
    alone operator::killed_in_the_middle_of_a_rollout_it_goes_on,
    alone operator::a_steady_state_writes_nothing,
    alone operator::every_right_it_used_it_has,
    alone door::while_the_operator_is_away_nothing_is_made_where_it_governs,
    alone door::a_rolling_restart_leaves_no_question_unanswered,
    alone drain::a_drain_is_no_outage_until_the_grace_period_ends,
    alone isolated::isolated_is_not_said_where_nothing_enforces_it,
    alone relay::a_model_without_a_way_to_any_registry_comes_through_the_relay,
    alone chart::models_outlive_upgrade_and_reinstallation,
];

fn main() -> ExitCode {
    let tests = Selection::from_arguments(std::env::args().skip(1)).of(TESTS);
    if tests.is_empty() {
        return ExitCode::SUCCESS;
    }
    harness::name_panics();
    let name = std::env::var("PROBITY_TEST_NODE").unwrap_or_else(|_| "test".into());
    let held = match bed::start_node(&name) {
        Ok(held) => held,
        Err(error) => {
            eprintln!("cluster: {error}");
            return ExitCode::FAILURE;
        }
    };
    let count = tests.len();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let failed = tokio::task::LocalSet::new().block_on(&runtime, async {
        // On a task of its own, so that what panics is told like a failed test.
        if let Ok(bed) = tokio::spawn(bed::set_up(name.clone())).await {
            return harness::run(tests, bed).await;
        }
        harness::collect_logs(&name, "setup");
        vec!["(setting up)"]
    });
    runtime.shutdown_background();
    drop(held);
    println!(
        "\n{} of {count} cluster tests passed",
        count.saturating_sub(failed.len())
    );
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
