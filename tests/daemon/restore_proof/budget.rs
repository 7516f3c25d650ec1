//! What a restore costs: a write for each policy that differs, within the budgets, and never too early.

use super::*;
use crate::bed::block_on;
use crate::support::for_each_engine;

const DIFFERENT: usize = 60;

for_each_engine!(five_hundred_policies_of_which_sixty_differ_take_sixty_writes, |engine| {
    let types = [("deviceConfiguration", 200), ("compliancePolicy", 200), ("windowsUpdateRing", 100)];
    let mut config = exactly(&types);
    // The limits as the service has them: nothing may come near them by luck.
    config.throttle = atlasd::sandbox::ThrottleConfig::default();
    let bed = Bed::with(engine, config, "");
    let state = bed.sandbox.state();
    // Groups that were deleted would be refused and not written.
    let (one, other) = (group(&bed), group(&bed));
    let keys: Vec<Key> = truth(&bed).into_keys().collect();
    assert_eq!(keys.len(), 500);
    keys.iter().for_each(|key| set(&bed, key, vec![to_group(&one)]));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        let wanted = sets(&bed);
        let changed: Vec<&Key> = keys.iter().step_by(keys.len() / DIFFERENT).take(DIFFERENT).collect();
        assert_eq!(changed.len(), DIFFERENT);
        for key in &changed {
            set(&bed, key, vec![to_group(&other), except(&one)]);
        }
        state.reset_stats();
        let inputs = json!({"snapshot_id": id, "allow_widening": true});
        let (run, _) = restore(&client, tenant, inputs).await;
        assert_eq!(run["outcome"], "succeeded", "{run}");
        assert_eq!(run["summary_counts"]["updated"], DIFFERENT, "{run}");
        assert_eq!(run["summary_counts"]["skipped"], 500 - DIFFERENT, "{run}");
        assert_eq!(sets(&bed), wanted);
        let mut written: Vec<Key> = state
            .writes_of(SINGLE_TENANT)
            .into_iter()
            .map(|write| (write.policy_type.expect("a policy that is there"), write.policy_id))
            .collect();
        written.sort();
        assert_eq!(written.iter().collect::<Vec<_>>(), changed, "each that differs once, and no other");
        let stats = state.stats();
        assert_eq!((stats.retries_early, stats.writes_retried_early, stats.throttled), (0, 0, 0));
        assert!(stats.budget_exceeded.is_empty(), "{:?}", stats.budget_exceeded);
        let (writes, calls) =
            (stats.writes_in_window_max[&SINGLE_TENANT], stats.calls_in_window_max[&SINGLE_TENANT]);
        assert!(writes <= 100 && calls <= 1000, "{writes} writes and {calls} calls in a window");
    });
});
