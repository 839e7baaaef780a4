use super::*;

#[test]
fn answers_cut_off_anywhere_are_no_links_addresses_or_routes_and_harm_nothing() {
    let mut messages = Messages::default();
    messages.add_silent(NEW_LINK, 0, &link_header(7, UP, 0), |body| {
        body.text(attribute::NAME, "eth0");
        body.number(attribute::MTU, 1500);
    });
    let whole = &messages.bytes()[16..];
    for end in 0..whole.len() {
        let cut = &whole[..end];
        assert_ne!(read_link(cut).map(|link| link.mtu), Some(1500));
        assert_eq!((read_address(cut), read_route(cut)), (None, None));
    }
    let expect =
        Link { index: 7, name: "eth0".to_owned(), is_up: true, mtu: 1500, ..Link::default() };
    assert_eq!(read_link(whole), Some(expect));
}
