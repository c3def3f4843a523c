/** The socket against a kernel that the test plays: what it sends, and what it makes of the answers. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import {
  acknowledge,
  answer,
  answerTogether,
  DATA,
  kernel,
  lastSent,
  NLMSG_DONE,
  NLMSG_ERROR,
  refuse,
  resetKernel,
} from "../../testbed/kernel-double.ts";
import { EINTR, ENODEV, ENOENT, EPERM } from "../sys/errno.ts";
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkError, NetlinkSocket } from "./socket.ts";

vi.mock("../sys/sys.ts", async () => (await import("../../testbed/kernel-double.ts")).kernel.system());
vi.mock("../sys/network.ts", async () => (await import("../../testbed/kernel-double.ts")).kernel.network());

beforeEach(resetKernel);

function request(socket: NetlinkSocket, type = DATA): void {
  const writer = socket.request(type, 0x400);
  writer.u32(0);
  writer.end();
}

function query(socket: NetlinkSocket): void {
  const writer = socket.query(DATA);
  writer.u32(0);
  writer.end();
}

function dump(socket: NetlinkSocket): void {
  const writer = socket.dump(DATA);
  writer.u32(0);
  writer.end();
}

/** The first byte of the body of each object. */
function exchange(socket: NetlinkSocket): { objects: number[][]; refusals: number[][] } {
  const objects: number[][] = [];
  const refusals = socket.exchange(({ body }, index) => objects.push([index, body[0] ?? 0]));
  return { objects, refusals: refusals.map(({ errno, index }) => [errno, index]) };
}

describe("requests", () => {
  test("the last one alone is acknowledged, since errors come in any case", () => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    for (let i = 0; i < 3; i += 1) request(socket, DATA + i);
    acknowledge(3);
    socket.run();
    expect(lastSent()).toEqual([
      { type: DATA, flags: 0x401, sequence: 1 },
      { type: DATA + 1, flags: 0x401, sequence: 2 },
      { type: DATA + 2, flags: 0x405, sequence: 3 },
    ]);
    request(socket);
    acknowledge(4);
    socket.run();
    expect(lastSent()).toEqual([{ type: DATA, flags: 0x405, sequence: 4 }]);
  });

  test("the first refusal is thrown or returned as a number, and all are returned", () => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    const writeAndRefuse = (first: number): void => {
      for (let i = 0; i < 3; i += 1) request(socket);
      refuse(first + 1, ENOENT);
      refuse(first + 2, ENODEV);
    };
    writeAndRefuse(1);
    expect(() => socket.run()).toThrow(new NetlinkError(ENOENT, "", 1));
    writeAndRefuse(4);
    expect(socket.attempt()).toBe(ENOENT);
    writeAndRefuse(7);
    expect(exchange(socket)).toEqual({
      objects: [],
      refusals: [
        [ENOENT, 1],
        [ENODEV, 2],
      ],
    });
  });

  test("objects may come before the acknowledgement", () => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    request(socket);
    answer(DATA, 1, 11);
    acknowledge(1);
    expect(exchange(socket)).toEqual({ objects: [[0, 11]], refusals: [] });
  });

  test("none", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    socket.run();
    expect(socket.attempt()).toBe(0);
    expect(exchange(socket)).toEqual({ objects: [], refusals: [] });
    expect(kernel.sent).toEqual([]);
  });
});

describe("queries", () => {
  test("each is answered by one object, or by one refusal", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    for (let i = 0; i < 3; i += 1) query(socket);
    answer(DATA, 1, 11);
    refuse(2, ENOENT);
    answer(DATA, 3, 33);
    expect(exchange(socket)).toEqual({
      objects: [
        [0, 11],
        [2, 33],
      ],
      refusals: [[ENOENT, 1]],
    });
    expect(lastSent().map(({ flags }) => flags)).toEqual([1, 1, 1]);
  });

  test("they may be sent together with requests, in any order", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    request(socket);
    query(socket);
    answer(DATA, 1, 1);
    answer(DATA, 2, 2);
    expect(exchange(socket)).toEqual({
      objects: [
        [0, 1],
        [1, 2],
      ],
      refusals: [],
    });
    query(socket);
    request(socket);
    refuse(3, ENOENT);
    acknowledge(4);
    expect(exchange(socket)).toEqual({ objects: [], refusals: [[ENOENT, 0]] });
  });

  test("a single one returns the object, or null where the refusal says that there is none", () => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    query(socket);
    answer(DATA, 1, 11);
    expect(socket.answer([ENODEV])?.[0]).toBe(11);
    query(socket);
    refuse(2, ENODEV);
    expect(socket.answer([ENODEV])).toBeNull();
    query(socket);
    refuse(3, EPERM);
    expect(() => socket.answer([ENODEV])).toThrow(new NetlinkError(EPERM, "", 0));
  });

  test("one refusal stands for all where netfilter may not be asked at all", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    for (let i = 0; i < 3; i += 1) query(socket);
    refuse(1, EPERM);
    expect(exchange(socket).refusals).toEqual([
      [EPERM, 0],
      [EPERM, 1],
      [EPERM, 2],
    ]);
    for (let i = 0; i < 2; i += 1) request(socket);
    refuse(4, EPERM);
    expect(() => socket.run()).toThrow(new NetlinkError(EPERM, "", 0));
    const route = new NetlinkSocket(NETLINK_ROUTE);
    for (let i = 0; i < 2; i += 1) query(route);
    refuse(1, EPERM);
    answer(DATA, 2, 22);
    expect(exchange(route)).toEqual({ objects: [[1, 22]], refusals: [[EPERM, 0]] });
  });
});

describe("dumps", () => {
  function list(socket: NetlinkSocket): number[] {
    dump(socket);
    return socket.list().map(({ body }) => body[0] ?? 0);
  }

  test("objects are kept, or handed on one by one or by many", () => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    const answerWith = (sequence: number): void => {
      answerTogether([1, 2].map((value) => ({ type: DATA, sequence, value })));
      answer(NLMSG_DONE, sequence, 0);
    };
    answerWith(1);
    expect(list(socket)).toEqual([1, 2]);
    expect(lastSent()).toEqual([{ type: DATA, flags: 0x301, sequence: 1 }]);
    answerWith(2);
    dump(socket);
    let values: number[] = [];
    const restart = (): void => {
      values = [];
    };
    socket.listEach(({ body }) => values.push(body[0] ?? 0), restart);
    expect(values).toEqual([1, 2]);
    answerWith(3);
    dump(socket);
    /* Nine words each, of which the fifth is the first of the body. */
    socket.listRows((words, from, to) => {
      for (let at = from; at < to; at += 9) values.push(words[at + 4] ?? 0);
    }, restart);
    expect(values).toEqual([1, 2]);
  });

  test("one that changes meanwhile is repeated, however the kernel says so", () => {
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
    expect(kernel.sent).toHaveLength(4);
  });

  test("one has its rows in any number of messages at once, its end behind them, and answers to others in between", () => {
    answerTogether([
      { type: DATA, sequence: 1, value: 1 },
      { type: DATA, sequence: 1, value: 2 },
    ]);
    answerTogether([{ type: DATA, sequence: 7, value: 9 }]);
    answerTogether([
      { type: DATA, sequence: 1, value: 3 },
      { type: DATA, sequence: 7, value: 9 },
      { type: NLMSG_DONE, sequence: 7, value: 0 },
      { type: DATA, sequence: 1, value: 4 },
      { type: NLMSG_ERROR, sequence: 1, value: 0 },
      { type: DATA, sequence: 1, value: 5 },
      { type: NLMSG_DONE, sequence: 1, value: 0 },
    ]);
    expect(list(new NetlinkSocket(NETLINK_ROUTE))).toEqual([1, 2, 3, 4, 5]);
  });

  test("one whose end says that it changed is repeated", () => {
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

  test("one that is refused leaves nothing behind for the next exchange", () => {
    const socket = new NetlinkSocket(NETLINK_NETFILTER);
    refuse(1, ENOENT);
    expect(() => list(socket)).toThrow(new NetlinkError(ENOENT, "", 0));
    request(socket);
    acknowledge(2);
    socket.run();
    expect(lastSent()).toEqual([{ type: DATA, flags: 0x405, sequence: 2 }]);
  });
});

describe("the sender", () => {
  test("only the kernel is heard", () => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    request(socket);
    answerTogether([{ type: NLMSG_ERROR, sequence: 1, value: -ENOENT }], 4711);
    acknowledge(1);
    expect(socket.attempt()).toBe(0);
  });
});

describe("an answer that does not come", () => {
  const waits: readonly (readonly [string, (socket: NetlinkSocket) => unknown])[] = [
    ["a request", (socket) => written(socket).run()],
    ["a query", (socket) => queried(socket).answer([])],
    ["a batch", (socket) => batch(socket).attempt()],
    ["a dump", (socket) => dumped(socket).list()],
  ];

  function written(socket: NetlinkSocket): NetlinkSocket {
    request(socket);
    return socket;
  }

  function queried(socket: NetlinkSocket): NetlinkSocket {
    query(socket);
    return socket;
  }

  function dumped(socket: NetlinkSocket): NetlinkSocket {
    dump(socket);
    return socket;
  }

  function batch(socket: NetlinkSocket): ReturnType<NetlinkSocket["batch"]> {
    const begun = socket.batch();
    begun.request(DATA, 0).end();
    return begun;
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
  test("a signal ends the wait, once, and the undoing that follows is not interrupted", () => {
    const socket = new NetlinkSocket(NETLINK_ROUTE);
    kernel.signal = 15;
    expect(() => written(socket).run()).toThrow("interrupted by signal 15");
    expect(kernel.ms).toBe(0);
    expect(() => written(socket).run()).toThrow("has not answered");
  });
});
