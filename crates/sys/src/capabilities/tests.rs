use super::{Capabilities, number};

#[test]
fn names_have_the_kernels_numbers() {
    assert_eq!(number("CAP_CHOWN"), Some(0));
    assert_eq!(number("CAP_SYS_ADMIN"), Some(21));
    assert_eq!(number("CAP_CHECKPOINT_RESTORE"), Some(40));
    assert_eq!(number("SYS_ADMIN"), None);
    assert_eq!(number("CAP_NOPE"), None);
}

#[test]
fn unknown_names_are_left_out_of_a_set() {
    let set = Capabilities::from_names(["CAP_CHOWN", "CAP_NOPE", "CAP_KILL"]);
    assert_eq!(set, Capabilities::from_names(["CAP_KILL", "CAP_CHOWN"]));
    assert!(set.contains(5) && !set.contains(1));
}
