use super::*;

fn config(listen: &[&str]) -> Config {
    let mut config = StateDirArgs::default().config().unwrap();
    config.listen = listen.iter().map(|it| it.parse().unwrap()).collect();
    config
}

#[test]
fn the_link_has_an_address_that_the_agent_answers_at() {
    let device: Vec<IpAddr> = ["192.168.1.7", "10.0.0.2", "fd00::7"].map(|it| it.parse().unwrap()).into();
    let at = |listen: &[&str], answering: &[&str]| {
        address(&config(listen), &device, |at| answering.contains(&at.to_string().as_str())).to_string()
    };
    assert_eq!(at(&["127.0.0.1:48484"], &["127.0.0.1:48484"]), "127.0.0.1:48484");
    assert_eq!(at(&["0.0.0.0:48484"], &["127.0.0.1:48484", "10.0.0.2:48484"]), "10.0.0.2:48484");
    assert_eq!(at(&["127.0.0.1:80", "192.168.1.7:80"], &["192.168.1.7:80"]), "192.168.1.7:80");
    assert_eq!(at(&["[::]:48484"], &["[fd00::7]:48484"]), "[fd00::7]:48484");
    assert_eq!(at(&["[::1]:48484"], &[]), "[::1]:48484");
    assert_eq!(at(&[], &[]), "127.0.0.1:48484");
}

#[test]
fn a_code_has_a_border_and_three_finders() {
    let drawn = qr_code("http://192.168.1.7:48484/#link=0123456789abcdef0123456789abcdef");
    let rows: Vec<Vec<char>> = drawn
        .lines()
        .map(|it| it.strip_prefix("\x1b[30;107m").unwrap().strip_suffix("\x1b[0m").unwrap().chars().collect())
        .collect();
    let width = rows[0].len();
    assert!(rows.iter().all(|it| it.len() == width), "every row is as wide as the first");
    let dark = |x: usize, y: usize| match (rows[y / 2][x], y % 2) {
        ('█', _) | ('▀', 0) | ('▄', 1) => true,
        (' ' | '▀' | '▄', _) => false,
        (other, _) => panic!("{other:?}"),
    };
    // 63 bytes need a code of 33 modules.
    assert_eq!(width, 33 + 2 * 4);
    for (left, top) in [(4, 4), (width - 4 - 7, 4), (4, width - 4 - 7)] {
        for n in 0..7 {
            assert!(dark(left + n, top) && dark(left, top + n) && dark(left + 6, top + n) && dark(left + n, top + 6));
        }
        for n in 1..6 {
            assert!(!dark(left + n, top + 1) && !dark(left + 1, top + n));
        }
        assert!(dark(left + 3, top + 3));
    }
    for x in 0..width {
        for y in 0..4 {
            assert!(!dark(x, y) && !dark(y, x), "the border is light at {x}, {y}");
        }
    }
}
