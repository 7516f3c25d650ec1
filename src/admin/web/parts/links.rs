//! Addresses with a query.

/// A path with those parameters that have a value.
pub fn address(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut address = path.to_owned();
    let mut sign = '?';
    for (name, value) in parameters {
        let Some(value) = value else { continue };
        address.push(sign);
        address.push_str(name);
        address.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    address.push(char::from(byte))
                }
                _ => address.push_str(&format!("%{byte:02X}")),
            }
        }
        sign = '&';
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_value_is_named_and_nothing_breaks_out() {
        let query = [("name", Some("a&b=c #ü")), ("cursor", None), ("type", Some("x"))];
        assert_eq!(address("/tenants", &query), "/tenants?name=a%26b%3Dc%20%23%C3%BC&type=x");
        assert_eq!(address("/tenants", &[("name", None)]), "/tenants");
    }
}
