#[path = "../tests/store/mod.rs"]
mod store;
use store::*;
fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let mut log = LogBuilder::new(&dir, "bench.test/gw-1");
    let mut x = 88172645463325252u64;
    let mut rnd = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    let routes = ["orders", "users", "payments"];
    for s in 0..n {
        let mut drafts = vec![];
        if s == 0 {
            drafts.push(start());
        }
        for _ in 0..110_000 {
            let r = rnd();
            let route = routes[(r % 3) as usize];
            let id = format!(
                "0199c3f2-{:04x}-7{:03x}-8{:03x}-{:012x}",
                r >> 48,
                r & 0xfff,
                (r >> 12) & 0xfff,
                rnd() & 0xffffffffffff
            );
            let status = [200, 200, 200, 404, 503][(r % 5) as usize];
            let us = rnd() % 100000;
            drafts.push(draft("completed", format!(r#","request_id":"{id}","listener":"edge","source":{{"ip":"203.0.113.{}","port":{}}},"request":{{"method":"GET","scheme":"https","host":"api.example.com","path":"/{route}/{}","query":["page"],"http":"1.1","bytes":0,"headers":{{"user-agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}}}},"route":"{route}","upstream":{{"name":"{route}","addr":"10.1.0.3:8080","attempts":1,"reused":true,"connect_us":0,"ttfb_us":{us}}},"response":{{"status":{status},"bytes":{}}},"end":"ok","duration_us":{},"config":"3f6a0000""#, r % 256, rnd() % 60000, rnd() % 1000000, rnd() % 10000, us + 20)));
        }
        log.segment(&drafts);
    }
    std::fs::write(dir.join("../keys"), format!("{}\n", log.key.verifier_key())).unwrap();
}
