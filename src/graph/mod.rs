//! The one door to Microsoft Graph: sign-in, the wire protocol (paging, batch, throttling), and the fetch.
