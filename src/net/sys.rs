//! The system calls that no safe crate offers, and the only unsafe code of this crate: batches of
//! datagrams with the local address each was sent to, and descriptors passed at start.
//!
//! rustix has neither `recvmmsg` nor the packet-info control messages, and tokio has no batches.
//! Each function takes and gives safe types; what makes each block sound stands beside it.
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_void};

/// Datagrams that one system call may move.
pub(crate) const MAX_BATCH: usize = 64;

/// Room for one datagram's control messages: packet information of both families and the ECN bits.
const CONTROL: usize = 128;

/// What the kernel says about one received datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) length: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    /// The datagram was longer than its buffer, and its end is lost.
    pub(crate) truncated: bool,
}

impl Meta {
    pub(crate) const EMPTY: Self = Self {
        length: 0,
        peer: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
        local: None,
        truncated: false,
    };
}

/// Control messages are read and written as `cmsghdr`, which wants this alignment.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Peer addresses and control messages of a batch, kept from one call to the next.
pub(crate) struct Scratch {
    // A sockaddr_in6 is the longest address that an Internet socket has.
    names: Box<[libc::sockaddr_in6]>,
    controls: Box<[Control]>,
}

impl Scratch {
    pub(crate) fn new(messages: usize) -> Self {
        let messages = messages.min(MAX_BATCH);
        // SAFETY: sockaddr_in6 is plain data, for which all bits zero is a value.
        let name: libc::sockaddr_in6 = unsafe { mem::zeroed() };
        Self {
            names: vec![name; messages].into_boxed_slice(),
            controls: vec![Control([0; CONTROL]); messages].into_boxed_slice(),
        }
    }
}

/// Receives up to a batch of datagrams without waiting: the n-th into the n-th `size` bytes of
/// `buffer`. Returns how many came.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    size: usize,
    scratch: &mut Scratch,
    metas: &mut [Meta],
) -> io::Result<usize> {
    let mut parts: [MaybeUninit<libc::iovec>; MAX_BATCH] = [const { MaybeUninit::uninit() }; _];
    let mut headers: [MaybeUninit<libc::mmsghdr>; MAX_BATCH] = [const { MaybeUninit::uninit() }; _];
    let mut count = 0;
    let slots = buffer
        .chunks_exact_mut(size.max(1))
        .zip(scratch.names.iter_mut().zip(scratch.controls.iter_mut()))
        .zip(parts.iter_mut().zip(headers.iter_mut()))
        .take(metas.len());
    for ((slot, (name, control)), (part, header)) in slots {
        let part = part.write(libc::iovec {
            iov_base: slot.as_mut_ptr().cast(),
            iov_len: slot.len(),
        });
        // SAFETY: mmsghdr is plain data, for which all bits zero is a value; zeroed rather than
        // written out because its padding fields differ between C libraries.
        let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
        message.msg_hdr.msg_name = ptr::from_mut(name).cast();
        message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        message.msg_hdr.msg_iov = ptr::from_mut(part);
        message.msg_hdr.msg_iovlen = 1;
        message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = CONTROL as _;
        header.write(message);
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the first `count` headers are written, and every pointer in them leads to memory
    // that is borrowed mutably here until after the call, with its true length.
    let received = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (header, (name, meta)) in headers
        .iter()
        .take(received.min(count))
        .zip(scratch.names.iter().zip(metas.iter_mut()))
    {
        // SAFETY: the first `count` headers were written above, and then by the kernel.
        let message = unsafe { header.assume_init_ref() };
        *meta = Meta {
            length: (message.msg_len as usize).min(size),
            peer: peer(name, message.msg_hdr.msg_namelen).unwrap_or(Meta::EMPTY.peer),
            local: local(&message.msg_hdr),
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(received)
}

/// One datagram to be sent.
pub(crate) struct Outgoing<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) to: SocketAddr,
    pub(crate) from: Option<IpAddr>,
    /// The socket is an IPv6 one, so that IPv4 is written as `::ffff:192.0.2.1`.
    pub(crate) mapped: bool,
}

/// Sends datagrams without waiting, up to a batch of them. Returns how many went; an error is the
/// first one's own.
pub(crate) fn send<'a>(
    fd: BorrowedFd<'_>,
    outgoing: impl Iterator<Item = Outgoing<'a>>,
) -> io::Result<usize> {
    let mut parts: [MaybeUninit<libc::iovec>; MAX_BATCH] = [const { MaybeUninit::uninit() }; _];
    let mut headers: [MaybeUninit<libc::mmsghdr>; MAX_BATCH] = [const { MaybeUninit::uninit() }; _];
    let mut controls: [MaybeUninit<Control>; MAX_BATCH] = [const { MaybeUninit::uninit() }; _];
    let mut names: [MaybeUninit<libc::sockaddr_in6>; MAX_BATCH] =
        [const { MaybeUninit::uninit() }; _];
    let mut count = 0;
    let slots = parts
        .iter_mut()
        .zip(headers.iter_mut())
        .zip(controls.iter_mut().zip(names.iter_mut()));
    // The slots first: zip drops what its left side gave when its right side has ended.
    for (((part, header), (control, name)), message) in slots.zip(outgoing) {
        let part = part.write(libc::iovec {
            iov_base: message.bytes.as_ptr().cast_mut().cast(),
            iov_len: message.bytes.len(),
        });
        // SAFETY: as in `receive`.
        let mut out: libc::mmsghdr = unsafe { mem::zeroed() };
        out.msg_hdr.msg_namelen = write_name(name, message.to, message.mapped);
        out.msg_hdr.msg_name = name.as_mut_ptr().cast();
        out.msg_hdr.msg_iov = ptr::from_mut(part);
        out.msg_hdr.msg_iovlen = 1;
        if let Some(from) = message.from {
            let control = control.write(Control([0; CONTROL]));
            out.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            out.msg_hdr.msg_controllen = CONTROL as _;
            leave_from(&mut out.msg_hdr, from, message.mapped);
        }
        header.write(out);
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the first `count` headers are written; what they point at lives until after the
    // call (the datagrams for 'a, the rest in this frame), and sendmmsg only reads it, but for
    // msg_len, which lies in `headers`.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Writes `to` as the socket's family has it, and returns its length.
fn write_name(
    name: &mut MaybeUninit<libc::sockaddr_in6>,
    to: SocketAddr,
    mapped: bool,
) -> libc::socklen_t {
    let (ip, flowinfo, scope) = match to {
        SocketAddr::V4(v4) if !mapped => {
            // SAFETY: plain data.
            let mut out: libc::sockaddr_in = unsafe { mem::zeroed() };
            out.sin_family = libc::AF_INET as libc::sa_family_t;
            out.sin_port = v4.port().to_be();
            out.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            // SAFETY: a sockaddr_in is smaller than the sockaddr_in6 it is written into, and wants
            // no stricter alignment; only its own length of it is shown to the kernel.
            unsafe { name.as_mut_ptr().cast::<libc::sockaddr_in>().write(out) };
            return size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0, 0),
        SocketAddr::V6(v6) => (*v6.ip(), v6.flowinfo(), v6.scope_id()),
    };
    // SAFETY: plain data.
    let mut out: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    out.sin6_port = to.port().to_be();
    out.sin6_addr.s6_addr = ip.octets();
    out.sin6_flowinfo = flowinfo;
    out.sin6_scope_id = scope;
    name.write(out);
    size_of::<libc::sockaddr_in6>() as libc::socklen_t
}

fn peer(name: &libc::sockaddr_in6, length: libc::socklen_t) -> Option<SocketAddr> {
    let length = length as usize;
    match c_int::from(name.sin6_family) {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the kernel wrote a sockaddr_in, as the family says; it is smaller than the
            // sockaddr_in6 that holds it and wants no stricter alignment.
            let v4 = unsafe { ptr::from_ref(name).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddrV4::new(v4, port).into(),
                None => SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into(),
            })
        }
        _ => None,
    }
}

/// The address that a received datagram was sent to.
fn local(header: &libc::msghdr) -> Option<IpAddr> {
    let mut found = None;
    // SAFETY: the kernel set msg_control and msg_controllen to what it wrote, and the CMSG macros
    // stay within them. The data of a message is as long as its type says, and is read unaligned.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    found = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    let ip = IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                    found = Some(ip.to_canonical());
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    found
}

/// Adds the control message that makes a datagram leave from `from`. `header` has a zeroed control
/// buffer of [`CONTROL`] bytes, and gets its true length.
fn leave_from(header: &mut libc::msghdr, from: IpAddr, mapped: bool) {
    match (from, mapped) {
        (IpAddr::V4(v4), false) => {
            // SAFETY: plain data.
            let mut info: libc::in_pktinfo = unsafe { mem::zeroed() };
            info.ipi_spec_dst.s_addr = u32::from(v4).to_be();
            write_control(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        (from, _) => {
            let v6 = match from {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            // SAFETY: plain data.
            let mut info: libc::in6_pktinfo = unsafe { mem::zeroed() };
            info.ipi6_addr.s6_addr = v6.octets();
            write_control(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
}

fn write_control<T: Copy>(header: &mut libc::msghdr, level: c_int, kind: c_int, data: T) {
    // SAFETY: the control buffer is CONTROL bytes, aligned for cmsghdr, and every T here (both
    // packet informations) is far shorter. The data is written unaligned.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        let Some(first) = message.as_mut() else {
            return;
        };
        first.cmsg_level = level;
        first.cmsg_type = kind;
        first.cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(data);
        header.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
    }
}

fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the option's value is a c_int that lives through the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast::<c_void>(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks for each datagram's local address.
pub(crate) fn receive_packet_info(fd: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Turns path MTU discovery off, and makes the kernel deaf to forged "fragmentation needed":
/// without this an off-path attacker can have our answers fragmented and then replace their tails.
pub(crate) fn ignore_path_mtu(fd: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_option(
            fd,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_OMIT,
        )
    } else {
        set_option(
            fd,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        )
    }
}

/// Takes ownership of a descriptor that the service manager passed. `None` if it is not open.
///
/// The caller takes each descriptor once in the life of the process.
pub(crate) fn passed_descriptor(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl only reads and sets the descriptor's flags; an fd that is not open is an error.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: it is open, and by sd_listen_fds(3) it was passed to be ours; `systemd::activation`
    // takes them once, before anything else of the process could have opened that number.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `CLOCK_MONOTONIC` in microseconds, as the service manager wants it beside `RELOADING=1`.
pub(crate) fn monotonic_microseconds() -> u64 {
    // SAFETY: timespec is plain data, and clock_gettime fills it.
    let now = unsafe {
        let mut now: libc::timespec = mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
        now
    };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(nanoseconds / 1_000)
}
