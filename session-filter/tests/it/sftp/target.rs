//! A file server in memory, with links that it follows as an operating system would; and the bytes that clients send.

use std::collections::BTreeMap;

pub(crate) const OK: u32 = 0;
pub(crate) const EOF: u32 = 1;
pub(crate) const NO_SUCH_FILE: u32 = 2;
pub(crate) const DENIED: u32 = 3;
pub(crate) const FAILURE: u32 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Dir,
    File(Vec<u8>),
    Link(String),
}

/// What a request did to which real path.
pub(crate) type Touch = (&'static str, String);

#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) nodes: BTreeMap<String, Node>,
    handles: BTreeMap<Vec<u8>, (String, bool)>,
    next_handle: u32,
    pub(crate) touched: Vec<Touch>,
    /// `SSH_FXP_REALPATH` of a name that does not exist fails, as some servers have it.
    pub(crate) strict_realpath: bool,
    pub(crate) extensions: &'static [&'static str],
}

pub(crate) const HOME: &str = "/home/alice";

impl Target {
    pub(crate) fn new() -> Self {
        let mut nodes = BTreeMap::new();
        for dir in ["/", "/etc", "/home", HOME, "/up", "/up/a", "/up/a/b"] {
            nodes.insert(dir.to_owned(), Node::Dir);
        }
        for file in ["/etc/secret", "/up/x", "/up/a/y", "/home/alice/own"] {
            nodes.insert(file.to_owned(), Node::File(file.as_bytes().to_vec()));
        }
        for (link, to) in [
            ("/up/out", "/etc"),
            ("/up/dangling", "/etc/new"),
            ("/up/in", "a"),
            ("/up/a/up", "../../etc"),
            ("/home/alice/way", "/up"),
            ("/up/loop", "loop"),
        ] {
            nodes.insert(link.to_owned(), Node::Link(to.to_owned()));
        }
        Self {
            nodes,
            handles: BTreeMap::new(),
            next_handle: 0,
            touched: Vec::new(),
            strict_realpath: false,
            extensions: &[
                "posix-rename@openssh.com",
                "hardlink@openssh.com",
                "statvfs@openssh.com",
                "vendor@example.com",
            ],
        }
    }

    /// The real path, whether or not its last name exists.
    fn resolve(&self, path: &str, follow_last: bool) -> Result<String, u32> {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        if !path.starts_with('/') {
            left.extend(HOME.split('/').rev().map(str::to_owned));
        }
        let mut real: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    real.pop();
                    continue;
                }
                _ => {}
            }
            real.push(name);
            let here = format!("/{}", real.join("/"));
            match self.nodes.get(&here) {
                Some(Node::Link(to)) if follow_last || !left.iter().all(|name| name.is_empty()) => {
                    links += 1;
                    if links > 16 {
                        return Err(FAILURE);
                    }
                    real.pop();
                    if to.starts_with('/') {
                        real.clear();
                    }
                    left.extend(to.split('/').rev().map(str::to_owned));
                }
                Some(Node::File(_)) if !left.is_empty() => return Err(NO_SUCH_FILE),
                None if !left.is_empty() => return Err(NO_SUCH_FILE),
                _ => {}
            }
        }
        Ok(format!("/{}", real.join("/")))
    }

    pub(crate) fn handle(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut fields = Reader(&packet[5..]);
        let kind = packet[4];
        if kind == 1 {
            let mut version = vec![2, 0, 0, 0, 3];
            for name in self.extensions {
                version.extend(string(name.as_bytes()));
                version.extend(string(b"1"));
            }
            return framed(version);
        }
        let id = fields.u32();
        match self.answer(kind, &mut fields) {
            Ok(Answer::Handle(handle)) => reply(102, id, &string(&handle)),
            Ok(Answer::Data(data)) => reply(103, id, &string(&data)),
            Ok(Answer::Name(name)) => {
                let mut body = vec![0, 0, 0, 1];
                body.extend(string(name.as_bytes()));
                body.extend(string(name.as_bytes()));
                body.extend([0; 4]);
                reply(104, id, &body)
            }
            Ok(Answer::Attrs(mode, size)) => {
                let mut body = vec![0, 0, 0, 5];
                body.extend(size.to_be_bytes());
                body.extend(mode.to_be_bytes());
                reply(105, id, &body)
            }
            Ok(Answer::Ok) => status(id, OK),
            Err(code) => status(id, code),
        }
    }

    fn answer(&mut self, kind: u8, fields: &mut Reader<'_>) -> Result<Answer, u32> {
        match kind {
            3 => {
                let (path, flags) = (fields.text(), fields.u32());
                let real = self.resolve(&path, true)?;
                if flags & 0x8 != 0 && self.parent_is_dir(&real) {
                    self.nodes.entry(real.clone()).or_insert(Node::File(Vec::new()));
                }
                let Some(Node::File(content)) = self.nodes.get_mut(&real) else { return Err(NO_SUCH_FILE) };
                if flags & 0x10 != 0 {
                    content.clear();
                }
                if flags & 0x1 != 0 {
                    self.touched.push(("read", real.clone()));
                }
                if flags & 0x1e != 0 {
                    self.touched.push(("write", real.clone()));
                }
                Ok(Answer::Handle(self.give(real, false)))
            }
            4 => self.handles.remove(&fields.string()).map(|_| Answer::Ok).ok_or(FAILURE),
            5 => {
                let (handle, offset, len) = (fields.string(), fields.u64() as usize, fields.u32() as usize);
                let (real, _) = self.handles.get(&handle).ok_or(FAILURE)?;
                let Some(Node::File(content)) = self.nodes.get(real) else { return Err(FAILURE) };
                self.touched.push(("read", real.clone()));
                match content.get(offset..(offset + len).min(content.len())) {
                    Some(data) if !data.is_empty() => Ok(Answer::Data(data.to_vec())),
                    _ => Err(EOF),
                }
            }
            6 => {
                let (handle, offset, data) = (fields.string(), fields.u64() as usize, fields.string());
                let (real, _) = self.handles.get(&handle).cloned().ok_or(FAILURE)?;
                let Some(Node::File(content)) = self.nodes.get_mut(&real) else { return Err(FAILURE) };
                if offset > 1 << 20 {
                    return Err(FAILURE);
                }
                content.resize(content.len().max(offset + data.len()), 0);
                content[offset..offset + data.len()].copy_from_slice(&data);
                self.touched.push(("write", real));
                Ok(Answer::Ok)
            }
            7 | 17 => {
                let real = self.resolve(&fields.text(), kind == 17)?;
                self.attrs(&real)
            }
            8 => {
                let (real, _) = self.handles.get(&fields.string()).cloned().ok_or(FAILURE)?;
                self.attrs(&real)
            }
            9 => {
                let real = self.resolve(&fields.text(), true)?;
                self.touched.push(("chmod", real.clone()));
                self.nodes.get(&real).map(|_| Answer::Ok).ok_or(NO_SUCH_FILE)
            }
            10 => {
                let (handle, flags) = (fields.string(), fields.u32());
                let (real, _) = self.handles.get(&handle).cloned().ok_or(FAILURE)?;
                if flags & 1 != 0
                    && let Some(Node::File(content)) = self.nodes.get_mut(&real)
                {
                    content.resize((fields.u64() as usize).min(1 << 20), 0);
                }
                self.touched.push(("chmod", real));
                Ok(Answer::Ok)
            }
            11 => {
                let real = self.resolve(&fields.text(), true)?;
                self.touched.push(("list", real.clone()));
                match self.nodes.get(&real) {
                    Some(Node::Dir) => Ok(Answer::Handle(self.give(real, true))),
                    _ => Err(NO_SUCH_FILE),
                }
            }
            12 => Err(EOF),
            13 | 15 => {
                let real = self.resolve(&fields.text(), false)?;
                self.touched.push(("delete", real.clone()));
                let has_children = self.nodes.keys().any(|path| path.starts_with(&format!("{real}/")));
                match self.nodes.get(&real) {
                    Some(Node::Dir) if kind == 15 && !has_children => {}
                    Some(Node::File(_) | Node::Link(_)) if kind == 13 => {}
                    _ => return Err(FAILURE),
                }
                self.nodes.remove(&real);
                Ok(Answer::Ok)
            }
            14 => {
                let real = self.resolve(&fields.text(), false)?;
                self.touched.push(("write", real.clone()));
                if self.nodes.contains_key(&real) || !self.parent_is_dir(&real) {
                    return Err(FAILURE);
                }
                self.nodes.insert(real, Node::Dir);
                Ok(Answer::Ok)
            }
            16 => {
                let path = fields.text();
                let real = self.resolve(&path, true)?;
                if !self.nodes.contains_key(&real) && (self.strict_realpath || !self.parent_is_dir(&real)) {
                    return Err(NO_SUCH_FILE);
                }
                Ok(Answer::Name(real))
            }
            18 => self.rename(&fields.text(), &fields.text()),
            19 => {
                let real = self.resolve(&fields.text(), false)?;
                self.touched.push(("list", real.clone()));
                match self.nodes.get(&real) {
                    Some(Node::Link(to)) => Ok(Answer::Name(to.clone())),
                    _ => Err(FAILURE),
                }
            }
            20 => {
                let (to, link) = (fields.text(), fields.text());
                let real = self.resolve(&link, false)?;
                self.touched.push(("link", real.clone()));
                if self.nodes.contains_key(&real) || !self.parent_is_dir(&real) {
                    return Err(FAILURE);
                }
                self.nodes.insert(real, Node::Link(to));
                Ok(Answer::Ok)
            }
            200 => match fields.string().as_slice() {
                b"posix-rename@openssh.com" => self.rename(&fields.text(), &fields.text()),
                b"hardlink@openssh.com" => {
                    let from = self.resolve(&fields.text(), true)?;
                    let to = self.resolve(&fields.text(), false)?;
                    self.touched.push(("link", from.clone()));
                    self.touched.push(("link", to.clone()));
                    match self.nodes.get(&from).cloned() {
                        Some(node @ Node::File(_))
                            if !self.nodes.contains_key(&to) && self.parent_is_dir(&to) =>
                        {
                            self.nodes.insert(to, node);
                            Ok(Answer::Ok)
                        }
                        _ => Err(FAILURE),
                    }
                }
                _ => Err(8),
            },
            _ => Err(8),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<Answer, u32> {
        let (from, to) = (self.resolve(from, false)?, self.resolve(to, false)?);
        self.touched.push(("rename", from.clone()));
        self.touched.push(("rename", to.clone()));
        let inside = format!("{from}/");
        if !self.nodes.contains_key(&from)
            || self.nodes.contains_key(&to)
            || !self.parent_is_dir(&to)
            || to.starts_with(&inside)
        {
            return Err(FAILURE);
        }
        let moved: Vec<String> =
            self.nodes.keys().filter(|path| **path == from || path.starts_with(&inside)).cloned().collect();
        for path in moved {
            let node = self.nodes.remove(&path).unwrap();
            self.nodes.insert(format!("{to}{}", &path[from.len()..]), node);
        }
        Ok(Answer::Ok)
    }

    fn attrs(&self, real: &str) -> Result<Answer, u32> {
        match self.nodes.get(real).ok_or(NO_SUCH_FILE)? {
            Node::Dir => Ok(Answer::Attrs(0o040_755, 0)),
            Node::File(content) => Ok(Answer::Attrs(0o100_644, content.len() as u64)),
            Node::Link(to) => Ok(Answer::Attrs(0o120_777, to.len() as u64)),
        }
    }

    fn parent_is_dir(&self, real: &str) -> bool {
        let parent =
            real.rsplit_once('/').map_or("/", |(parent, _)| if parent.is_empty() { "/" } else { parent });
        self.nodes.get(parent) == Some(&Node::Dir)
    }

    fn give(&mut self, real: String, is_dir: bool) -> Vec<u8> {
        self.next_handle += 1;
        let handle = self.next_handle.to_be_bytes().to_vec();
        self.handles.insert(handle.clone(), (real, is_dir));
        handle
    }
}

enum Answer {
    Ok,
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Name(String),
    Attrs(u32, u64),
}

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn u32(&mut self) -> u32 {
        let (value, rest) = self.0.split_first_chunk::<4>().unwrap();
        self.0 = rest;
        u32::from_be_bytes(*value)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        let (value, rest) = self.0.split_first_chunk::<8>().unwrap();
        self.0 = rest;
        u64::from_be_bytes(*value)
    }

    pub(crate) fn string(&mut self) -> Vec<u8> {
        let length = self.u32() as usize;
        let (value, rest) = self.0.split_at(length);
        self.0 = rest;
        value.to_vec()
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8(self.string()).unwrap()
    }
}

pub(crate) fn string(value: &[u8]) -> Vec<u8> {
    let mut out = (value.len() as u32).to_be_bytes().to_vec();
    out.extend(value);
    out
}

pub(crate) fn framed(body: Vec<u8>) -> Vec<u8> {
    string(&body)
}

fn reply(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    packet.extend(id.to_be_bytes());
    packet.extend(body);
    framed(packet)
}

pub(crate) fn status(id: u32, code: u32) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend(string(b"text"));
    body.extend(string(b""));
    reply(101, id, &body)
}

/// A request with these strings, followed by raw bytes.
pub(crate) fn request(kind: u8, id: u32, strings: &[&[u8]], raw: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = strings.iter().flat_map(|value| string(value)).collect();
    body.extend(raw);
    reply(kind, id, &body)
}

pub(crate) fn init(version: u32) -> Vec<u8> {
    let mut body = vec![1];
    body.extend(version.to_be_bytes());
    framed(body)
}

pub(crate) fn open(id: u32, path: &str, flags: u32) -> Vec<u8> {
    let mut raw = flags.to_be_bytes().to_vec();
    raw.extend([0; 4]);
    request(3, id, &[path.as_bytes()], &raw)
}

pub(crate) fn read(id: u32, handle: &[u8], offset: u64, len: u32) -> Vec<u8> {
    let mut raw = offset.to_be_bytes().to_vec();
    raw.extend(len.to_be_bytes());
    request(5, id, &[handle], &raw)
}

pub(crate) fn write(id: u32, handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
    let mut raw = offset.to_be_bytes().to_vec();
    raw.extend(string(data));
    request(6, id, &[handle], &raw)
}

pub(crate) fn extended(id: u32, name: &str, strings: &[&[u8]], raw: &[u8]) -> Vec<u8> {
    let mut all: Vec<&[u8]> = vec![name.as_bytes()];
    all.extend(strings);
    request(200, id, &all, raw)
}
