//! Files that are put and got over HTTP.

use crate::{Daemon, Server, config, free_port};

#[test]
fn files_are_put_and_got() {
    let (plain, tls, http) = (free_port(), free_port(), free_port());
    let more = format!(
        "[xmpp.upload]\nurl = \"http://files.one.test/upload\"\nfile_size = \"100KiB\"\n\
         account_size = \"300KiB\"\n\
         [http]\nlisten = [\"127.0.0.1:{http}\"]\n\
         [[http.site]]\nhosts = [\"files.one.test\"]\n"
    );
    let daemon = Daemon::start(&(config(plain, tls, "") + &more));
    let server = Server::with(daemon, plain, tls);
    let web = format!("127.0.0.1:{http}");
    let url = server.script("xmpp_upload.py", "bare", &[&web]);
    let server = server.kill_and_start();
    server.script("xmpp_upload.py", "seen", &[&web, url.trim()]);
}
