use super::*;
use proptest::prelude::*;

const PATIENCE: Duration = Duration::from_secs(3);
const LIMITS: HeadLimits = HeadLimits {
    tolerance: 3,
    block_time: None,
};

fn head(number: u64, millis: i64) -> Head {
    Head {
        number,
        timestamp: u64::try_from(at(millis).as_second()).unwrap(),
        seen_at: at(millis),
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
}

fn measured(pool: &mut Pool, provider: usize, millis: u64, now: Timestamp) {
    for _ in 0..ENOUGH_SAMPLES {
        pool.answered(provider, Duration::from_millis(millis), now);
    }
}

#[test]
fn preference_decides_until_measurements_do() {
    let mut pool = Pool::new(3);
    assert_eq!(pool.order(at(0), PATIENCE, LIMITS), [0, 1, 2]);
    measured(&mut pool, 0, 300, at(0));
    assert_eq!(
        pool.order(at(0), PATIENCE, LIMITS),
        [1, 2, 0],
        "slower than unknown"
    );
    measured(&mut pool, 1, 40, at(0));
    measured(&mut pool, 2, 37, at(0));
    assert_eq!(
        pool.order(at(0), PATIENCE, LIMITS),
        [1, 2, 0],
        "as fast, and preferred"
    );
    measured(&mut pool, 2, 4, at(0));
    measured(&mut pool, 2, 4, at(0));
    assert_eq!(pool.order(at(0), PATIENCE, LIMITS), [2, 1, 0]);
    // What is that old is not known any longer.
    assert_eq!(pool.order(at(61_000), PATIENCE, LIMITS), [0, 1, 2]);
}

#[test]
fn failures_cost_a_provider_its_rank_before_they_open_its_breaker() {
    let mut pool = Pool::new(2);
    for provider in [0, 1] {
        measured(&mut pool, provider, 10, at(0));
    }
    for _ in 0..2 {
        assert!(!pool.failed(0, Failure::Passing, at(1)));
    }
    assert_eq!(pool.order(at(2), PATIENCE, LIMITS), [1, 0]);
    assert!(!pool.is_resting(0, at(2), PATIENCE));
    assert!(pool.failed(0, Failure::Passing, at(2)));
    assert!(pool.is_resting(0, at(2), PATIENCE));
}

#[test]
fn a_breaker_opens_for_longer_each_time_and_one_attempt_closes_it() {
    let mut pool = Pool::new(1);
    for _ in 0..THRESHOLD {
        pool.failed(0, Failure::Passing, at(0));
    }
    assert!(pool.is_resting(0, at(999), PATIENCE));
    assert!(!pool.is_resting(0, at(1_000), PATIENCE));
    pool.asked(0, at(1_000));
    assert!(
        pool.is_resting(0, at(1_001), PATIENCE),
        "one attempt is under way"
    );
    assert!(pool.failed(0, Failure::Passing, at(1_002)));
    assert!(pool.is_resting(0, at(3_001), PATIENCE));
    assert!(!pool.is_resting(0, at(3_002), PATIENCE));
    for _ in 0..20 {
        pool.failed(0, Failure::Passing, at(3_002));
    }
    assert!(
        !pool.is_resting(0, at(33_002), PATIENCE),
        "never longer than that"
    );
    pool.asked(0, at(33_002));
    assert!(pool.answered(0, Duration::from_millis(5), at(33_010)));
    assert!(!pool.is_resting(0, at(33_010), PATIENCE));
    assert!(
        !pool.failed(0, Failure::Passing, at(33_011)),
        "counts from the beginning"
    );
}

#[test]
fn failures_that_a_question_may_have_caused_count_once_a_control_fails_too() {
    let mut pool = Pool::new(1);
    assert!(pool.suspect(0, at(0), PATIENCE));
    for _ in 0..50 {
        assert!(!pool.suspect(0, at(1), PATIENCE), "one control at a time");
    }
    assert!(!pool.controlled(0, None, at(2)));
    assert!(!pool.is_resting(0, at(2), PATIENCE), "it was the question");
    assert!(pool.suspect(0, at(3), PATIENCE));
    assert!(!pool.controlled(0, Some(Failure::Passing), at(4)));
    assert!(!pool.is_resting(0, at(4), PATIENCE), "a single failure");
    for millis in [5, 6] {
        pool.suspect(0, at(millis), PATIENCE);
    }
    assert!(pool.controlled(0, Some(Failure::Passing), at(7)));
    assert!(pool.is_resting(0, at(8), PATIENCE));
    assert!(
        !pool.is_resting(0, at(1_007), PATIENCE),
        "as long as by failures one by one"
    );
    pool.suspect(0, at(2_000), PATIENCE);
    assert!(
        pool.suspect(0, at(2_000) + PATIENCE * 3, PATIENCE),
        "one whose end was not noted is over"
    );
}

#[test]
fn a_forgotten_probe_and_a_clock_put_back_open_no_breaker_for_ever() {
    let mut pool = Pool::new(1);
    pool.failed(0, Failure::Lasting, at(0));
    pool.asked(0, at(1_000));
    assert!(!pool.is_resting(0, at(1_000) + PATIENCE, PATIENCE));
    pool.failed(0, Failure::Lasting, at(3_600_000));
    assert!(!pool.is_resting(0, at(0), PATIENCE));
}

#[test]
fn where_nobody_else_is_left_a_few_try_and_the_others_need_not_wait() {
    let mut pool = Pool::new(1);
    assert_eq!((0..9).filter(|_| pool.try_resting(0)).count(), 4);
    pool.trial_ended(0);
    assert!(pool.try_resting(0) && !pool.try_resting(0));
}

#[test]
fn whoever_loses_each_race_loses_its_rank() {
    let mut pool = Pool::new(2);
    measured(&mut pool, 1, 10, at(0));
    assert_eq!(pool.order(at(0), PATIENCE, LIMITS), [1, 0]);
    measured(&mut pool, 0, 1, at(0));
    assert_eq!(pool.order(at(0), PATIENCE, LIMITS), [0, 1]);
    for _ in 0..2 * ENOUGH_SAMPLES {
        pool.slower_than(0, Duration::from_millis(300), at(1));
    }
    assert_eq!(pool.order(at(1), PATIENCE, LIMITS), [1, 0]);
}

#[test]
fn who_asks_to_be_left_alone_is() {
    let mut pool = Pool::new(2);
    pool.failed(0, Failure::Rest(Duration::from_secs(7)), at(0));
    assert!(pool.is_resting(0, at(6_999), PATIENCE));
    assert!(!pool.is_resting(0, at(7_000), PATIENCE));
    assert_eq!(
        pool.order(at(1), PATIENCE, LIMITS),
        [1, 0],
        "asked last, not never"
    );
    pool.failed(1, Failure::Rest(Duration::from_secs(3_600)), at(0));
    assert!(!pool.is_resting(1, at(30_000), PATIENCE));
    assert_eq!(
        pool.order(at(1), PATIENCE, LIMITS),
        [0, 1],
        "the shorter rest first"
    );
}

#[test]
fn a_second_attempt_waits_for_the_firsts_own_95th_percentile() {
    let mut pool = Pool::new(1);
    let deadline = Duration::from_secs(3);
    assert_eq!(pool.patience(0, at(0), deadline), Duration::from_secs(1));
    for millis in 1..=20 {
        pool.answered(0, Duration::from_millis(millis * 10), at(0));
    }
    assert_eq!(
        pool.patience(0, at(0), deadline),
        Duration::from_millis(190)
    );
    measured(&mut pool, 0, 1, at(0));
    assert_eq!(
        pool.patience(0, at(70_000), deadline),
        Duration::from_secs(1)
    );
}

#[test]
fn retries_are_a_tenth_of_what_is_asked_in_the_long_run() {
    let mut pool = Pool::new(1);
    assert_eq!((0..100).filter(|_| pool.spend()).count(), 10);
    let mut spent = 0;
    for _ in 0..1_000 {
        pool.earn();
        spent += u32::from(pool.spend());
    }
    assert_eq!(spent, 100);
}

#[test]
fn a_provider_whose_breaker_is_open_is_not_asked_and_what_it_said_counts() {
    let mut pool = Pool::new(3);
    pool.saw_head(0, head(100, 0));
    pool.saw_head(1, head(200, 0));
    pool.believed(0, head(100, 0), None, false);
    assert_eq!(pool.head_of_others(0, at(1), LIMITS), Some(200));
    assert_eq!(pool.head_of_others(2, at(1), LIMITS), Some(200));
    assert_eq!(pool.ask_unknown_heads(0, at(1)), [2]);
    pool.failed(1, Failure::Rest(Duration::from_secs(20)), at(2));
    assert_eq!(pool.head_of_others(0, at(3), LIMITS), Some(200));
    assert_eq!(
        pool.ask_unknown_heads(0, at(10_001)),
        [2],
        "not asked either"
    );
    pool.drop_head(1);
    assert_eq!(pool.head_of_others(0, at(3), LIMITS), None);
}

#[test]
fn a_lagging_provider_is_asked_last_and_its_breaker_stays_closed() {
    let mut pool = Pool::new(2);
    measured(&mut pool, 0, 1, at(0));
    measured(&mut pool, 1, 300, at(0));
    assert_eq!(pool.order(at(0), PATIENCE, LIMITS), [0, 1]);
    pool.saw_head(0, head(82, 0));
    pool.saw_head(1, head(100, 0));
    assert_eq!(pool.order(at(1), PATIENCE, LIMITS), [1, 0]);
    assert!(!pool.is_resting(0, at(1), PATIENCE));
    pool.saw_head(0, head(100, 2));
    assert_eq!(pool.order(at(3), PATIENCE, LIMITS), [0, 1]);
}

#[test]
fn a_reorg_invalidates_what_was_read_there_before() {
    let block = |number, byte| {
        Some(BlockId {
            number,
            hash: [byte; 32],
        })
    };
    let mut pool = Pool::new(1);
    pool.believed(0, head(200, 0), block(199, 1), false);
    assert_eq!(pool.known(), block(199, 1));
    pool.believed(0, head(201, 5), block(200, 1), false);
    assert_eq!(pool.reorg(), None);
    pool.believed(0, head(202, 10), block(201, 2), true);
    let reorg = pool.reorg().unwrap();
    assert!(reorg.invalidates(136, at(3)));
    assert!(reorg.invalidates(202, at(10)));
    assert!(!reorg.invalidates(135, at(3)), "long before it");
    assert!(!reorg.invalidates(202, at(11)), "read since");
    assert_eq!(pool.known(), block(201, 2));
}

#[test]
fn instances_learn_from_each_other_what_is_newer() {
    let block = Some(BlockId {
        number: 499,
        hash: [7; 32],
    });
    let mut first = Pool::new(2);
    first.failed(1, Failure::Rest(Duration::from_secs(9)), at(0));
    first.saw_head(0, head(500, 0));
    first.believed(0, head(500, 0), block, false);
    first.saw_block(block, true, at(0));
    let mut second = Pool::new(2);
    second.learn(&first.to_bytes(), at(100));
    assert!(second.is_resting(1, at(100), PATIENCE));
    assert!(!second.is_resting(0, at(100), PATIENCE));
    assert_eq!(second.head_of_others(1, at(100), LIMITS), Some(500));
    assert_eq!(second.known(), block);
    assert_eq!(second.reorg(), first.reorg());
    assert_eq!(second.highest_possible(at(0), LIMITS), Some(506));
    // Long afterwards the heads and the breakers say nothing; the block still bounds the next one.
    let mut third = Pool::new(2);
    third.learn(&first.to_bytes(), at(60_000));
    assert!(!third.is_resting(1, at(60_000), PATIENCE));
    assert_eq!(third.head_of_others(1, at(60_000), LIMITS), None);
    assert_eq!(
        third.highest_possible(at(60_000), LIMITS),
        Some(506 + 60 * 20)
    );
    // A pool of another configuration is not understood.
    let mut fourth = Pool::new(3);
    fourth.learn(&first.to_bytes(), at(100));
    assert_eq!(fourth.known(), None);
}

#[test]
fn how_a_provider_is_read_is_shared_and_looked_at_again() {
    let mut first = Pool::new(4);
    first.found_form(0, Some(Form::Override), at(0));
    first.found_form(1, Some(Form::Creation), at(0));
    first.found_form(2, Some(Form::Calls), at(0));
    first.found_numbering(0, Numbering::Own);
    first.found_numbering(1, Numbering::Foreign);
    let mut second = Pool::new(4);
    second.found_form(3, Some(Form::Calls), at(5));
    second.learn(&first.to_bytes(), at(10));
    let forms = |now| [0, 1, 2, 3].map(|provider| second.form(provider, now));
    assert_eq!(
        forms(at(10)),
        [
            Some(Form::Override),
            Some(Form::Creation),
            Some(Form::Calls),
            Some(Form::Calls)
        ]
    );
    assert_eq!(forms(at(600_006)), [Some(Form::Override), None, None, None]);
    assert_eq!(
        [0, 1, 2].map(|provider| second.numbering(provider)),
        [Some(Numbering::Own), Some(Numbering::Foreign), None]
    );
    let mut third = second.clone();
    third.found_form(0, None, at(20));
    assert_eq!(third.form(0, at(20)), None);
    // An instance that does not know it.
    third.learn(&Pool::new(4).to_bytes(), at(30));
    assert_eq!(third.form(0, at(30)), None);
    assert_eq!(third.numbering(1), Some(Numbering::Foreign));
}

proptest! {
    #[test]
    fn nothing_that_a_store_says_takes_a_provider_out_for_long(
        open in any::<(i64, u32)>(), head in any::<(u64, u64, i64)>(), millis in any::<i32>(), junk in ".*"
    ) {
        let shared = Shared {
            edition: EDITION,
            believed: Some((0, head)),
            known: Some((head.0, junk.clone())),
            reorg: Some((head.0, head.2)),
            providers: vec![SharedProvider {
                open: Some(open),
                head: Some(head),
                form: Some((SharedForm::Calls, head.2)),
                has_own_numbers: Some(true),
            }],
        };
        for bytes in [serde_json::to_vec(&shared).unwrap(), junk.into_bytes()] {
            let mut pool = Pool::new(1);
            pool.learn(&bytes, at(millis.into()));
            prop_assert!(!pool.is_resting(0, later(at(millis.into()), LONGEST_REST), PATIENCE));
            prop_assert_eq!(pool.order(at(millis.into()), PATIENCE, LIMITS), vec![0]);
        }
    }
}
