/** Batches against a kernel that the test plays. */
import { beforeEach, expect, test, vi } from "vitest";
import {
  acknowledge,
  answer,
  answerTogether,
  DATA,
  kernel,
  lastSent,
  NLMSG_ERROR,
  refuse,
  resetKernel,
} from "../../testbed/kernel-double.ts";
import { EBUSY, EEXIST, ENOENT, EPERM, ERESTART } from "../sys/errno.ts";
import { splitMessages } from "./message-reader.ts";
import type { Batch } from "./netfilter.ts";
import { NETLINK_NETFILTER, NetlinkError, NetlinkSocket } from "./socket.ts";

vi.mock("../sys/sys.ts", async () => (await import("../../testbed/kernel-double.ts")).kernel.system());
vi.mock("../sys/network.ts", async () => (await import("../../testbed/kernel-double.ts")).kernel.network());

beforeEach(resetKernel);

const BEGIN = 16;
const END = 17;

function add(batch: Batch, type: number): void {
  const writer = batch.request(type, 0x400);
  writer.u32(0);
  writer.end();
}

function batchOf(count: number, socket = new NetlinkSocket(NETLINK_NETFILTER)): Batch {
  const batch = socket.batch();
  for (let i = 0; i < count; i += 1) {
    expect(batch.length).toBe(i);
    add(batch, DATA + i);
  }
  return batch;
}

test("the last request alone is acknowledged, and one receive is enough", () => {
  const batch = batchOf(3);
  acknowledge(4);
  batch.commit();
  expect(lastSent()).toEqual([
    { type: BEGIN, flags: 1, sequence: 1 },
    { type: DATA, flags: 0x401, sequence: 2 },
    { type: DATA + 1, flags: 0x401, sequence: 3 },
    { type: DATA + 2, flags: 0x405, sequence: 4 },
    { type: END, flags: 1, sequence: 5 },
  ]);
  expect(kernel.sent).toHaveLength(1);
  const begin = splitMessages(kernel.sent[0] ?? new Uint8Array())[0];
  /* Family and version 0, subsystem 10 in network byte order. */
  expect(Buffer.from(begin?.body ?? []).toString("hex")).toBe("0000000a");
});

test("the first refusal is thrown with its index, and all are returned by attempt", () => {
  const batch = batchOf(3);
  refuse(3, ENOENT);
  refuse(4, EBUSY);
  expect(() => batch.commit()).toThrow(new NetlinkError(ENOENT, "", 1));

  const again = batchOf(3);
  refuse(2, EEXIST);
  refuse(3, ENOENT);
  acknowledge(4);
  expect(again.attempt().map(({ errno, index }) => [errno, index])).toEqual([
    [EEXIST, 0],
    [ENOENT, 1],
  ]);
});

test("EPERM for one request is not one for the batch", () => {
  const batch = batchOf(2);
  refuse(2, EPERM);
  acknowledge(3);
  expect(batch.attempt().map(({ errno, index }) => [errno, index])).toEqual([[EPERM, 0]]);
});

test("a refusal of the batch as a whole is the only answer", () => {
  const batch = batchOf(1);
  refuse(1, ERESTART);
  try {
    batch.commit();
    expect.unreachable();
  } catch (error) {
    expect(error).toMatchObject({ errno: ERESTART, index: -1 });
  }
});

test("late answers to a batch that failed are not taken for answers to what follows", () => {
  const socket = new NetlinkSocket(NETLINK_NETFILTER);
  const batch = batchOf(2, socket);
  refuse(1, ERESTART);
  acknowledge(3);
  expect(batch.attempt()).toHaveLength(1);
  const writer = socket.query(DATA);
  writer.u32(0);
  writer.end();
  answer(DATA, 5, 7);
  expect(socket.answer([])?.[0]).toBe(7);
});

test("only the kernel is heard", () => {
  const batch = batchOf(1);
  answerTogether([{ type: NLMSG_ERROR, sequence: 2, value: -ENOENT }], 4711);
  acknowledge(2);
  expect(batch.attempt()).toEqual([]);
});

test("an empty batch is not sent; one that is dropped leaves nothing behind", () => {
  batchOf(0).commit();
  expect(kernel.sent).toHaveLength(0);
  const socket = new NetlinkSocket(NETLINK_NETFILTER);
  batchOf(2, socket);
  const batch = socket.batch();
  add(batch, DATA + 7);
  acknowledge(2);
  batch.commit();
  expect(lastSent().map(({ type }) => type)).toEqual([BEGIN, DATA + 7, END]);
});

test("the socket's buffers are raised for a large batch, and only then", () => {
  const socket = new NetlinkSocket(NETLINK_NETFILTER);
  const small = batchOf(1, socket);
  acknowledge(2);
  kernel.options.length = 0;
  small.commit();
  expect(kernel.options).toEqual([]);
  const large = socket.batch();
  const first = 4;
  for (let i = 0; i < 100; i += 1) {
    const writer = large.request(DATA, 0);
    writer.raw(new Uint8Array(4000));
    writer.end();
  }
  acknowledge(first + 100);
  large.commit();
  expect(kernel.options.map(([, option]) => option)).toEqual([32, 33]);
  expect(kernel.options[0]?.[2]).toBeGreaterThanOrEqual(100 * 4000);
});
