//! Looks for what must not come back: secrets and tokens where none belong, and poison from earlier answers.

use secrecy::ExposeSecret;

use super::answer::CANARIES;
use super::dispatch::Incoming;
use super::state::World;

/// Counts what a request gives away. A sign-in may carry its secret in its body.
pub fn look_for(world: &mut World, request: &Incoming, is_sign_in: bool) {
    let body = String::from_utf8_lossy(&request.body);
    world.log.stats.bytes_received += request.body.len() as u64;
    let mut parts: Vec<&str> = vec![&request.path, &request.query];
    parts.extend(request.client_request_id.as_deref());
    parts.extend(request.other_headers.iter().map(String::as_str));
    let everywhere = |text: &str, parts: &[&str]| parts.iter().any(|part| part.contains(text));
    let with_body: Vec<&str> = parts.iter().copied().chain([body.as_ref()]).collect();

    let secret = world.config.client_secret.expose_secret();
    let secret_seen = everywhere(secret, if is_sign_in { &parts } else { &with_body });
    let token_seen = world.tokens.texts().any(|token| everywhere(token, &with_body));
    world.log.stats.secrets_seen += u64::from(secret_seen || token_seen);
    let canary_seen = CANARIES.iter().any(|canary| everywhere(canary, &with_body));
    world.log.stats.canaries_seen += u64::from(canary_seen);
}
