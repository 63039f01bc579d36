/**
 * Makes and removes virtual links, and the traffic control that forwards between two (rtnetlink(7), tc(8)).
 *
 * @module
 */
import { NETLINK, NetlinkError, type NetlinkFailure, NetlinkSocket } from "./netlink.ts";
import { eachAttribute, MessageWriter, NLM_F } from "./netlink_message.ts";

const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  NEWQDISC: 36,
  DELQDISC: 37,
  NEWTFILTER: 44,
  DELTFILTER: 45,
  GETTFILTER: 46,
} as const;
const IFLA = { IFNAME: 3, MTU: 4, LINKINFO: 18 } as const;
const IFLA_INFO = { KIND: 1, DATA: 2 } as const;
const VETH_INFO_PEER = 1;
const TCA = { KIND: 1, OPTIONS: 2 } as const;
const TCA_BPF = {
  ACT: 1,
  CLASSID: 3,
  OPS_LEN: 4,
  OPS: 5,
  FD: 6,
  NAME: 7,
  FLAGS: 8,
  ID: 11,
} as const;
const TCA_BPF_FLAG_ACT_DIRECT = 1;
const TCA_ACT = { KIND: 1, OPTIONS: 2 } as const;
const TCA_MIRRED_PARMS = 2;
const TCA_EGRESS_REDIR = 1;
const TC_ACT_STOLEN = 4;
const CLSACT = 0xfffffff1;
const CLSACT_HANDLE = 0xffff0000;
const INGRESS = 0xfffffff2;
const EGRESS = 0xfffffff3;
/** Priority of the filter that forwards everything, and all protocols in network order. */
const FORWARD_INFO = (49_152 << 16) | 0x0300;

/** Makes two ends of a virtual cable. @throws {NetlinkError} EEXIST when a name is taken. */
export function createVeth(name: string, peer: string, mtu: number): void {
  request("make a virtual cable", (writer, sequence) => {
    writer.begin(RTM.NEWLINK, NLM_F.REQUEST | NLM_F.ACK | NLM_F.CREATE | NLM_F.EXCL, sequence);
    writer.raw(new Uint8Array(16));
    writer.string(IFLA.IFNAME, name);
    writer.u32(IFLA.MTU, mtu);
    const info = writer.beginNest(IFLA.LINKINFO);
    writer.string(IFLA_INFO.KIND, "veth");
    const data = writer.beginNest(IFLA_INFO.DATA);
    const other = writer.beginNest(VETH_INFO_PEER);
    writer.raw(new Uint8Array(16));
    writer.string(IFLA.IFNAME, peer);
    writer.u32(IFLA.MTU, mtu);
    writer.endNest(other);
    writer.endNest(data);
    writer.endNest(info);
    writer.end();
  });
}

/** Removes a link, and a virtual cable's other end with it. @returns false when there is none. */
export function deleteLink(name: string): boolean {
  return attempt("remove a link", ENODEV, (writer, sequence) => {
    writer.begin(RTM.DELLINK, NLM_F.REQUEST | NLM_F.ACK, sequence);
    writer.raw(new Uint8Array(16));
    writer.string(IFLA.IFNAME, name);
    writer.end();
  });
}

/**
 * Has the kernel forward everything that an interface receives to another one, until that is undone. Needs no process.
 *
 * @param from index of the interface that receives, `to` of the one that sends.
 */
export function forwardAll(from: number, to: number): void {
  addClsact(from);
  request("forward by traffic control", (writer, sequence) => {
    begin(writer, RTM.NEWTFILTER, NLM_F.CREATE, sequence, from, 1, INGRESS, FORWARD_INFO);
    writer.string(TCA.KIND, "bpf");
    const options = writer.beginNest(TCA.OPTIONS);
    const actions = writer.beginNest(TCA_BPF.ACT);
    const first = writer.beginNest(1);
    writer.string(TCA_ACT.KIND, "mirred");
    const parameters = writer.beginNest(TCA_ACT.OPTIONS);
    // struct tc_mirred: index, capabilities, action, two counts; what to do, and where.
    const mirred = new DataView(new ArrayBuffer(28));
    mirred.setInt32(8, TC_ACT_STOLEN, true);
    mirred.setInt32(20, TCA_EGRESS_REDIR, true);
    mirred.setUint32(24, to, true);
    writer.attribute(TCA_MIRRED_PARMS, new Uint8Array(mirred.buffer));
    writer.endNest(parameters);
    writer.endNest(first);
    writer.endNest(actions);
    writer.u32(TCA_BPF.CLASSID, 1);
    writer.attribute(TCA_BPF.OPS_LEN, Uint8Array.of(1, 0));
    // The classic program "ret #-1": it matches everything.
    writer.attribute(TCA_BPF.OPS, Uint8Array.of(0x06, 0, 0, 0, 0xff, 0xff, 0xff, 0xff));
    writer.endNest(options);
    writer.end();
  });
}

/** Undoes {@link forwardAll}. @returns false when there was nothing to undo. */
export function stopForwarding(from: number): boolean {
  return removeFilter("stop forwarding", from, INGRESS, FORWARD_INFO);
}

/** Priority of programs that see what leaves an interface, and all protocols in network order. */
const EGRESS_INFO = (0xda_00 << 16) | 0x0300;

/**
 * Has a program decide about every frame that leaves an interface, in the place of the one that is there. It stays until
 * it is removed, or the interface is.
 *
 * @param program its descriptor; `name` is what `tc filter show` calls it.
 */
export function setEgressProgram(index: number, program: number, name: string): void {
  addClsact(index);
  request("attach a program", (writer, sequence) => {
    begin(writer, RTM.NEWTFILTER, NLM_F.CREATE, sequence, index, 1, EGRESS, EGRESS_INFO);
    writer.string(TCA.KIND, "bpf");
    const options = writer.beginNest(TCA.OPTIONS);
    writer.u32(TCA_BPF.FD, program);
    writer.string(TCA_BPF.NAME, name);
    writer.u32(TCA_BPF.FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    writer.endNest(options);
    writer.end();
  });
}

/** The kernel's number of the program that {@link setEgressProgram} attached; undefined when there is none. */
export function egressProgram(index: number): number | undefined {
  const socket = new NetlinkSocket(NETLINK.ROUTE);
  try {
    const writer = new MessageWriter(256);
    const sequence = socket.nextSequence();
    begin(writer, RTM.GETTFILTER, NLM_F.DUMP, sequence, index, 0, EGRESS, 0);
    writer.end();
    let id: number | undefined;
    const failure = socket.request(writer, sequence, (type, start, end) => {
      // struct tcmsg: the priority is in the upper half of the last field.
      if (type !== RTM.NEWTFILTER || socket.view.getUint16(start + 18, true) !== 0xda_00) return;
      eachAttribute(socket.view, start + 20, end, (outer, from, to) => {
        if (outer !== TCA.OPTIONS) return;
        eachAttribute(socket.view, from, to, (inner, at) => {
          if (inner === TCA_BPF.ID) id = socket.view.getUint32(at, true);
        });
      });
    });
    // Without traffic control at the interface there is no such parent.
    if (failure !== undefined && failure.code !== EINVAL && failure.code !== ENOENT) {
      throw error("look at traffic control", failure);
    }
    return id;
  } finally {
    socket.close();
  }
}

/** Takes the program of {@link setEgressProgram} away. @returns false when there is none. */
export function removeEgressProgram(index: number): boolean {
  return removeFilter("remove a program", index, EGRESS, EGRESS_INFO);
}

function removeFilter(what: string, index: number, parent: number, info: number): boolean {
  return attempt(what, ENOENT, (writer, sequence) => {
    begin(writer, RTM.DELTFILTER, 0, sequence, index, 1, parent, info);
    writer.string(TCA.KIND, "bpf");
    writer.end();
  });
}

/**
 * Has the kernel drop everything that an interface receives or sends, until that is undone. Needs no process; a program
 * that is attached before traffic control may let frames past it.
 */
export function dropAll(index: number): void {
  addClsact(index);
  for (const parent of [INGRESS, EGRESS]) {
    request("drop by traffic control", (writer, sequence) => {
      begin(writer, RTM.NEWTFILTER, NLM_F.CREATE, sequence, index, 1, parent, FORWARD_INFO);
      writer.string(TCA.KIND, "bpf");
      const options = writer.beginNest(TCA.OPTIONS);
      writer.u32(TCA_BPF.FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
      writer.attribute(TCA_BPF.OPS_LEN, Uint8Array.of(1, 0));
      // The classic program "ret #2": its result is the action, to drop.
      writer.attribute(TCA_BPF.OPS, Uint8Array.of(0x06, 0, 0, 0, 2, 0, 0, 0));
      writer.endNest(options);
      writer.end();
    });
  }
}

/** Undoes {@link dropAll}, and leaves filters of others. @returns false when there was nothing to undo. */
export function stopDropping(index: number): boolean {
  let undone = false;
  for (const parent of [INGRESS, EGRESS]) {
    undone = attempt("stop dropping", ENOENT, (writer, sequence) => {
      begin(writer, RTM.DELTFILTER, 0, sequence, index, 1, parent, FORWARD_INFO);
      writer.string(TCA.KIND, "bpf");
      writer.end();
    }) || undone;
  }
  if (undone && [INGRESS, EGRESS].every((parent) => !hasFilters(index, parent))) {
    removeClsact(index);
  }
  return undone;
}

function hasFilters(index: number, parent: number): boolean {
  let found = false;
  const failure = send((writer, sequence) => {
    begin(writer, RTM.GETTFILTER, NLM_F.DUMP, sequence, index, 0, parent, 0);
    writer.end();
  }, (type) => found ||= type === RTM.NEWTFILTER);
  if (failure !== undefined) throw error("list filters", failure);
  return found;
}

const ENOENT = 2;
const EEXIST = 17;
const ENODEV = 19;
const EINVAL = 22;

function addClsact(index: number): void {
  attempt("prepare traffic control", EEXIST, (writer, sequence) => {
    begin(
      writer,
      RTM.NEWQDISC,
      NLM_F.CREATE | NLM_F.EXCL,
      sequence,
      index,
      CLSACT_HANDLE,
      CLSACT,
      0,
    );
    writer.string(TCA.KIND, "clsact");
    writer.end();
  });
}

/** Takes traffic control away where no filter is left. */
function removeClsact(index: number): void {
  attempt("take traffic control away", ENOENT, (writer, sequence) => {
    begin(writer, RTM.DELQDISC, 0, sequence, index, CLSACT_HANDLE, CLSACT, 0);
    writer.string(TCA.KIND, "clsact");
    writer.end();
  });
}

/** A traffic control message: struct tcmsg. */
function begin(
  writer: MessageWriter,
  type: number,
  flags: number,
  sequence: number,
  index: number,
  handle: number,
  parent: number,
  info: number,
): void {
  writer.begin(type, NLM_F.REQUEST | NLM_F.ACK | flags, sequence);
  const message = new DataView(new ArrayBuffer(20));
  message.setInt32(4, index, true);
  message.setUint32(8, handle, true);
  message.setUint32(12, parent, true);
  message.setUint32(16, info, true);
  writer.raw(new Uint8Array(message.buffer));
}

type Build = (writer: MessageWriter, sequence: number) => void;

function request(what: string, build: Build): void {
  const failure = send(build);
  if (failure !== undefined) throw error(what, failure);
}

/** As {@link request}; false when the kernel answers with the error that says there is nothing to do. */
function attempt(what: string, expected: number, build: Build): boolean {
  const failure = send(build);
  if (failure === undefined) return true;
  if (failure.code === expected || (expected === ENOENT && failure.code === EINVAL)) return false;
  throw error(what, failure);
}

function error(what: string, failure: NetlinkFailure): NetlinkError {
  return new NetlinkError(what, failure.code, failure.text, failure.offset);
}

function send(build: Build, visit: (type: number) => void = () => {}): NetlinkFailure | undefined {
  const socket = new NetlinkSocket(NETLINK.ROUTE);
  try {
    const writer = new MessageWriter(4096);
    const sequence = socket.nextSequence();
    build(writer, sequence);
    return socket.request(writer, sequence, visit);
  } finally {
    socket.close();
  }
}
