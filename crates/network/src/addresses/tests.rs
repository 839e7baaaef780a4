use proptest::prelude::*;

use super::*;

fn addresses(net: &str) -> Addresses {
    let net: Ipv4Net = net.parse().unwrap();
    let gateway = Ipv4Addr::from(u32::from(net.network()) + u32::from(net.prefix_len() < 31));
    Addresses::new(net, gateway)
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

#[test]
fn the_first_is_two_and_then_one_after_the_other() {
    let mut a = addresses("172.17.0.0/16");
    assert_eq!(a.take(|_| true), Some(ip("172.17.0.2")));
    assert_eq!(a.take(|_| true), Some(ip("172.17.0.3")));
}

#[test]
fn what_is_given_back_is_the_next_once_its_interface_is_gone() {
    let mut a = addresses("10.0.0.0/24");
    let first = a.take(|_| true).unwrap();
    a.take(|_| true).unwrap();
    a.give_back(first, Some("veth1".to_owned()));
    assert_eq!(a.take(|name| name != "veth1"), Some(ip("10.0.0.4")));
    assert_eq!(a.take(|_| true), Some(first));
}

#[test]
fn a_full_network_gives_none_and_one_that_is_nearly_left_before_that() {
    let mut a = addresses("10.0.0.0/29");
    let all: Vec<_> = std::iter::from_fn(|| a.take(|_| true)).collect();
    assert_eq!(all, (2..=6).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect::<Vec<_>>());
    a.give_back(ip("10.0.0.5"), Some("five".to_owned()));
    a.give_back(ip("10.0.0.4"), Some("four".to_owned()));
    assert_eq!(a.take(|_| false), Some(ip("10.0.0.5")));
}

#[test]
fn a_network_of_two_has_one_for_a_container() {
    let mut a = addresses("10.0.0.0/31");
    assert_eq!(a.take(|_| true), Some(ip("10.0.0.1")));
    assert_eq!(a.take(|_| true), None);
}

#[test]
fn a_claim_is_refused_for_what_is_taken_or_is_no_containers() {
    let mut a = addresses("10.0.0.0/24");
    assert_eq!(a.claim(ip("10.0.0.9")), Ok(()));
    assert_eq!(a.claim(ip("10.0.0.9")), Err(Refused::Taken));
    for other in ["10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.1.9"] {
        assert_eq!(a.claim(ip(other)), Err(Refused::NotOfTheNetwork), "{other}");
    }
}

proptest! {
    #[test]
    fn no_address_is_ever_two_owners_and_the_lowest_is_taken(
        steps in proptest::collection::vec(proptest::option::of(0_usize..40), 0..200)
    ) {
        let mut a = addresses("10.1.2.0/26");
        let mut held: Vec<Ipv4Addr> = Vec::new();
        for step in steps {
            match step {
                Some(which) if !held.is_empty() => {
                    let address = held.swap_remove(which % held.len());
                    a.give_back(address, None);
                }
                _ => {
                    let expect = (2..63).map(|n| Ipv4Addr::new(10, 1, 2, n)).find(|a| !held.contains(a));
                    let got = a.take(|_| true);
                    prop_assert_eq!(got, expect);
                    held.extend(got);
                }
            }
        }
    }
}
