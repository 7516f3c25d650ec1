//! Fair sharing of tenants among instances (SPEC section 5): how many an instance takes before the others had a
//! chance.

/// How many tenants with work an instance may be engaged in while others might take them: an even part, rounded up.
///
/// `with_work` tenants have work, `live` instances share them (0 counts as this one alone).
pub fn share(with_work: usize, live: usize) -> usize {
    with_work.div_ceil(live.max(1))
}

/// Whether an instance that is engaged in `engaged` tenants may take one more of `with_work`.
pub fn may_take(engaged: usize, with_work: usize, live: usize) -> bool {
    live <= 1 || engaged < share(with_work.max(engaged + 1), live)
}

/// Whether it is engaged in more than its part, so that one has to go to another instance.
pub fn is_over(engaged: usize, with_work: usize, live: usize) -> bool {
    live > 1 && engaged > share(with_work.max(engaged), live)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instance_takes_all() {
        assert!((0..1000).all(|engaged| may_take(engaged, 1000, 1) && !is_over(engaged, 1000, 1)));
        assert!(may_take(5, 5, 0));
    }

    #[test]
    fn several_take_even_parts_and_leave_nothing() {
        for live in 2..10 {
            for with_work in 0..100 {
                let taken = (0..with_work).take_while(|engaged| may_take(*engaged, with_work, live)).count();
                assert!(taken * live >= with_work, "{live} instances leave none of {with_work}");
                assert!(taken <= with_work.div_ceil(live));
                assert!(!is_over(taken, with_work, live), "what was taken is not handed on at once");
            }
        }
    }

    #[test]
    fn who_has_more_than_its_part_hands_over() {
        assert!(is_over(3, 4, 2) && !is_over(2, 4, 2) && !is_over(1, 1, 2));
    }
}
