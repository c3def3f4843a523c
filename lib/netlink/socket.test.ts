/** The socket against a kernel played by the test: what it sends, and what it makes of the answers. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { EAGAIN, EINTR, ENOENT, EPERM, ERESTART } from "../sys/errno.ts";
import { MessageWriter, splitMessages } from "./codec.ts";
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkError, NetlinkSocket } from "./socket.ts";

interface Sent {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
}

const kernel = vi.hoisted(() => ({
  sent: [] as Uint8Array[],
  answers: [] as Uint8Array[],
  options: [] as (readonly number[])[],
  /** The clock; waiting is what moves it. */
  ms: 0,
  /** The signal that comes while an answer is waited for; 0 for none. */
  signal: 0,
}));

const ready = (): number => (kernel.answers.length > 0 ? 1 : 0);

vi.mock("../sys/sys.ts", () => ({
  must: (result: number) => result,
  socket: () => 3,
  close: () => undefined,
  setsockopt: (_fd: number, ...option: number[]) => kernel.options.push(option),
  send: (_fd: number, bytes: Uint8Array, _at: number, length: number) => {
    kernel.sent.push(bytes.slice());
    return length;
  },
  recv: (_fd: number, buffer: Uint8Array, flags: number) => {
    const answer = kernel.answers.shift();
    if ((flags & 0x40) === 0) throw new Error("this could block for ever");
    if (answer === undefined) return -EAGAIN;
    buffer.set(answer);
    return answer.length;
  },
  poll: (_fd: number, _events: number, ms: number) => {
    if (ready() === 0) kernel.ms += ms;
    return ready();
  },
  CLOCK_MONOTONIC: 1,
  POLLIN: 1,
  clockMs: () => kernel.ms,
  caughtSignal: () => kernel.signal,
  alarmMs: () => undefined,
}));

beforeEach(() => {
  kernel.sent.length = 0;
  kernel.answers.length = 0;
  kernel.options.length = 0;
  kernel.ms = 0;
  kernel.signal = 0;
});

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const DATA = 0x0a01;

function answer(type: number, sequence: number, value: number, flags = 0): void {
  const writer = new MessageWriter();
  writer.beginExact(type, flags, sequence);
  writer.u32(value);
  for (let i = 0; i < 4; i += 1) writer.u32(0);
  writer.end();
  kernel.answers.push(writer.bytes);
}

const acknowledge = (sequence: number): void => answer(NLMSG_ERROR, sequence, 0);
const refuse = (sequence: number, errno: number): void => answer(NLMSG_ERROR, sequence, -errno);

function lastSent(): Sent[] {
  return splitMessages(kernel.sent.at(-1) ?? new Uint8Array()).map(({ type, flags, sequence }) => ({
    type,
    flags,
    sequence,
  }));
}

function request(socket: NetlinkSocket, type: number): void {
  const writer = socket.request(type, 0x400);
  writer.u32(0);
  writer.end();
}

function query(socket: NetlinkSocket): void {
  const writer = socket.query(DATA);
  writer.u32(0);
  writer.end();
}

describe("batches", () => {
  const BEGIN = 16;
  const END = 17;

  function batchOf(count: number): NetlinkSocket {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    socket.beginBatch();
    for (let i = 0; i < count; i += 1) {
      expect(socket.batchLength).toBe(i);
      request(socket, DATA + i);
    }
    return socket;
  }

  test("the last request alone is acknowledged, and one receive is enough", () => {
    const socket = batchOf(3);
    acknowledge(4);
    socket.commitBatch();
    expect(lastSent()).toEqual([
      { type: BEGIN, flags: 1, sequence: 1 },
      { type: DATA, flags: 0x401, sequence: 2 },
      { type: DATA + 1, flags: 0x401, sequence: 3 },
      { type: DATA + 2, flags: 0x405, sequence: 4 },
      { type: END, flags: 1, sequence: 5 },
    ]);
    expect(kernel.sent).toHaveLength(1);
    /* Outside a batch everything is acknowledged again. */
    request(socket, DATA);
    acknowledge(6);
    socket.run();
    expect(lastSent()).toEqual([{ type: DATA, flags: 0x405, sequence: 6 }]);
  });

  test("a refusal names its request, and all of them are at hand", () => {
    const socket = batchOf(3);
    refuse(3, ENOENT);
    refuse(4, 16);
    expect(() => socket.commitBatch()).toThrow(new NetlinkError(ENOENT, "", 1));

    const again = batchOf(3);
    refuse(2, 17);
    refuse(3, ENOENT);
    acknowledge(4);
    expect(again.attemptBatch().map(({ errno, index }) => [errno, index])).toEqual([
      [17, 0],
      [ENOENT, 1],
    ]);
  });

  test("a refusal of the batch as a whole is the only answer", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    socket.beginBatch(7);
    request(socket, DATA);
    refuse(1, ERESTART);
    try {
      socket.commitBatch();
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ errno: ERESTART, index: -1 });
    }
    const begin = splitMessages(kernel.sent[0] ?? new Uint8Array())[0];
    /* Family and version 0, subsystem 10, attribute 1 of 8 bytes with the generation: all in network order. */
    expect(Buffer.from(begin?.body ?? []).toString("hex")).toBe("0000000a0800010000000007");
  });

  test("what is left over from a batch that failed is not taken for later answers", () => {
    const socket = batchOf(2);
    refuse(1, ERESTART);
    acknowledge(3);
    expect(socket.attemptBatch()).toHaveLength(1);
    query(socket);
    answer(DATA, 5, 0);
    expect(socket.executeAll(() => undefined)).toEqual([0]);
  });

  test("an empty batch is not sent, one that was dropped neither", () => {
    batchOf(0).commitBatch();
    expect(kernel.sent).toHaveLength(0);
    const socket = batchOf(2);
    socket.beginBatch();
    request(socket, DATA + 7);
    acknowledge(2);
    socket.commitBatch();
    expect(lastSent().map(({ type }) => type)).toEqual([BEGIN, DATA + 7, END]);
  });

  test("buffers are raised for large ones, and only then", () => {
    const socket = batchOf(1);
    acknowledge(2);
    kernel.options.length = 0;
    socket.commitBatch();
    expect(kernel.options).toEqual([]);
    socket.beginBatch();
    const first = 4;
    for (let i = 0; i < 100; i += 1) {
      const writer = socket.request(DATA, 0);
      writer.raw(new Uint8Array(4000));
      writer.end();
    }
    acknowledge(first + 100);
    socket.commitBatch();
    expect(kernel.options.map(([, option]) => option)).toEqual([32, 33]);
    expect(kernel.options[0]?.[2]).toBeGreaterThanOrEqual(100 * 4000);
  });
});

describe("many questions at once", () => {
  test("each is answered by one message, or by one refusal", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    for (let i = 0; i < 3; i += 1) query(socket);
    answer(DATA, 1, 11);
    refuse(2, ENOENT);
    answer(DATA, 3, 33);
    const values: (readonly number[])[] = [];
    const errors = socket.executeAll(({ body }, index) => {
      values.push([index, body[0] ?? 0]);
    });
    expect(errors).toEqual([0, ENOENT, 0]);
    expect(values).toEqual([
      [0, 11],
      [2, 33],
    ]);
    expect(lastSent().map(({ flags }) => flags)).toEqual([1, 1, 1]);
  });

  test("one refusal stands for all where netfilter may not be asked at all", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    for (let i = 0; i < 3; i += 1) query(socket);
    refuse(1, EPERM);
    expect(socket.executeAll(() => undefined)).toEqual([EPERM, EPERM, EPERM]);
    for (let i = 0; i < 2; i += 1) request(socket, DATA);
    refuse(4, EPERM);
    expect(() => socket.run()).toThrow(new NetlinkError(EPERM, "", 0));
    socket.beginSeries();
    for (let i = 0; i < 2; i += 1) request(socket, DATA);
    refuse(6, EPERM);
    expect(socket.executeSeries().map(({ errno }) => errno)).toEqual([EPERM]);
    const route = new NetlinkSocket(NETLINK_ROUTE);
    for (let i = 0; i < 2; i += 1) query(route);
    refuse(1, EPERM);
    answer(DATA, 2, 22);
    expect(route.executeAll(() => undefined)).toEqual([EPERM, 0]);
  });

  test("requests among them are done when they are acknowledged", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    request(socket, DATA);
    query(socket);
    answer(DATA, 1, 1);
    acknowledge(1);
    answer(DATA, 2, 2);
    expect(socket.executeAll(() => undefined)).toEqual([0, 0]);
    request(socket, DATA);
    request(socket, DATA);
    refuse(3, ENOENT);
    acknowledge(4);
    expect(socket.executeAll(() => undefined)).toEqual([ENOENT, 0]);
  });

  test("none", () => {
    expect(new NetlinkSocket(NETLINK_NETFILTER).executeAll(() => undefined)).toEqual([]);
  });
});

describe("listings", () => {
  function list(socket: NetlinkSocket): number[] {
    let found: number[] = [];
    socket.dump(
      DATA,
      (writer) => {
        writer.u32(0);
        writer.end();
      },
      ({ body }) => found.push(body[0] ?? 0),
      () => {
        found = [];
      },
    );
    return found;
  }

  test("one that changes meanwhile is begun again, however the kernel says so", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    answer(DATA, 1, 1);
    answer(NLMSG_DONE, 1, -EINTR);
    answer(DATA, 2, 2, 0x10);
    answer(NLMSG_DONE, 2, 0);
    refuse(3, EINTR);
    answer(DATA, 4, 4);
    answer(DATA, 4, 5);
    answer(NLMSG_DONE, 4, 0);
    expect(list(socket)).toEqual([4, 5]);
  });

  test("one has its rows in any number of messages at once, its end behind them, and answers to others in between", () => {
    const pieces: (readonly [type: number, sequence: number, value: number])[][] = [
      [
        [DATA, 1, 1],
        [DATA, 1, 2],
      ],
      [[DATA, 7, 9]],
      [
        [DATA, 1, 3],
        [DATA, 7, 9],
        [NLMSG_DONE, 7, 0],
        [DATA, 1, 4],
        [NLMSG_ERROR, 1, 0],
        [DATA, 1, 5],
        [NLMSG_DONE, 1, 0],
      ],
    ];
    for (const piece of pieces) {
      const writer = new MessageWriter();
      for (const [type, sequence, value] of piece) {
        writer.beginExact(type, 0, sequence);
        writer.u32(value);
        writer.end();
      }
      kernel.answers.push(writer.bytes);
    }
    expect(list(new NetlinkSocket(NETLINK_ROUTE))).toEqual([1, 2, 3, 4, 5]);
  });

  test("one whose end says that it changed is begun again", () => {
    answer(DATA, 1, 1);
    answer(NLMSG_DONE, 1, 0, 0x10);
    answer(DATA, 2, 2);
    answer(NLMSG_DONE, 2, 0);
    expect(list(new NetlinkSocket(NETLINK_NETFILTER))).toEqual([2]);
  });

  test("one that never stays the same is given up", () => {
    for (let sequence = 1; sequence <= 10; sequence += 1) answer(NLMSG_DONE, sequence, -EINTR);
    expect(() => list(new NetlinkSocket(NETLINK_NETFILTER))).toThrow("kept changing");
  });

  test("an error at its end counts, except with rtnetlink, where a missing table ends so", () => {
    answer(DATA, 1, 1);
    answer(NLMSG_DONE, 1, -ENOENT);
    expect(() => list(new NetlinkSocket(NETLINK_NETFILTER))).toThrow(new NetlinkError(ENOENT, "", 0));
    answer(DATA, 1, 1);
    answer(NLMSG_DONE, 1, -ENOENT);
    expect(list(new NetlinkSocket(NETLINK_ROUTE))).toEqual([1]);
  });
});

describe("an answer that does not come", () => {
  const waits: readonly (readonly [string, (socket: NetlinkSocket) => unknown])[] = [
    ["execute", (socket) => written(socket).run()],
    ["executeAll", (socket) => written(socket).executeAll(() => {})],
    ["a series", (socket) => series(socket).executeSeries()],
    ["a batch", (socket) => batch(socket).attemptBatch()],
    [
      "a listing",
      (socket) =>
        socket.dump(
          DATA,
          (writer) => writer.end(),
          () => {},
          () => {},
        ),
    ],
  ];

  function written(socket: NetlinkSocket): NetlinkSocket {
    socket.request(DATA, 0).end();
    return socket;
  }

  function series(socket: NetlinkSocket): NetlinkSocket {
    socket.beginSeries();
    return written(socket);
  }

  function batch(socket: NetlinkSocket): NetlinkSocket {
    socket.beginBatch();
    return written(socket);
  }

  test.each(waits)("%s gives up after a time with code 11; from then on sooner", (_name, wait) => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    expect(() => wait(socket)).toThrow(/^the kernel has not answered a netlink request within (10|1) s$/);
    expect(kernel.ms).toBeLessThanOrEqual(10_000);
    kernel.ms = 0;
    expect(() => wait(socket)).toThrow("within 1 s");
    expect(kernel.ms).toBe(1000);
  });

  test("a late answer to an earlier request is none to the next one", () => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    expect(() => written(socket).run()).toThrow("has not answered");
    refuse(1, ENOENT);
    acknowledge(2);
    written(socket).run();
  });

  /* The last of all: a process is interrupted once. */
  test("a signal ends the waiting, once, and what follows is taking back", () => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    kernel.signal = 15;
    expect(() => written(socket).run()).toThrow("interrupted by signal 15");
    expect(kernel.ms).toBe(0);
    expect(() => written(socket).run()).toThrow("has not answered");
  });
});
