/**
 * For tests: a kernel that the test plays. The test says what the kernel answers, and reads what it was sent. Sequence numbers
 * are relative to the first, which is 1.
 */

import { splitMessages } from "../lib/netlink/message-reader.ts";
import { MessageWriter } from "../lib/netlink/message-writer.ts";
import { EAGAIN } from "../lib/sys/errno.ts";

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const DATA = 0x0a01;

/** What `random` returns, and the sequence number that follows from it, less 1. */
const RANDOM = 0xdeadbeef;
const BASE = RANDOM >>> 2;

/** The kernel. `kernel.network()` and `kernel.system()` stand for network.ts and sys.ts in vi.mock. */
export const kernel = {
  sent: [] as Uint8Array[],
  /** Datagrams, each with the port of its sender. */
  answers: [] as { bytes: Uint8Array; port: number }[],
  options: [] as (readonly number[])[],
  /** The clock. Waiting moves it. */
  ms: 0,
  /** The signal that arrives during a wait; 0 for none. */
  signal: 0,

  network(): object {
    return {
      socket: () => 3,
      setsockopt: (_fd: number, ...option: number[]) => kernel.options.push(option),
      send: (_fd: number, bytes: Uint8Array, _at: number, length: number) => {
        kernel.sent.push(bytes.slice());
        return length;
      },
      recvfrom: (_fd: number, buffer: Uint8Array, flags: number, address: Uint8Array) => {
        if ((flags & 0x40) === 0) throw new Error("this could block for ever");
        const answer = kernel.answers.shift();
        if (answer === undefined) return -EAGAIN;
        buffer.set(answer.bytes);
        new DataView(address.buffer).setUint32(4, answer.port, true);
        return answer.bytes.length;
      },
    };
  },

  system(): object {
    return {
      must: (result: number) => result,
      random: () => RANDOM,
      getenv: () => null,
      close: () => undefined,
      poll: (_fd: number, _events: number, ms: number) => {
        if (kernel.answers.length === 0) kernel.ms += ms;
        return kernel.answers.length > 0 ? 1 : 0;
      },
      CLOCK_MONOTONIC: 1,
      POLLIN: 1,
      clockMs: () => kernel.ms,
      caughtSignal: () => kernel.signal,
      alarmMs: () => undefined,
    };
  },
};

export function resetKernel(): void {
  kernel.sent.length = 0;
  kernel.answers.length = 0;
  kernel.options.length = 0;
  kernel.ms = 0;
  kernel.signal = 0;
}

export interface Answer {
  readonly type: number;
  readonly sequence: number;
  /** The first word of the body. */
  readonly value: number;
  readonly flags?: number;
}

/** The kernel, or the process with the port, sends messages in one datagram. */
export function answerTogether(answers: readonly Answer[], port = 0): void {
  const parts = answers.map(({ type, sequence, value, flags = 0 }) => {
    const writer = new MessageWriter();
    writer.begin(type, flags);
    writer.u32(value);
    for (let i = 0; i < 4; i += 1) writer.u32(0);
    writer.end();
    writer.number(BASE + sequence);
    return writer.bytes;
  });
  kernel.answers.push({ bytes: Buffer.concat(parts), port });
}

export function answer(type: number, sequence: number, value: number, flags = 0): void {
  answerTogether([{ type, sequence, value, flags }]);
}

export const acknowledge = (sequence: number): void => answer(NLMSG_ERROR, sequence, 0);
export const refuse = (sequence: number, errno: number): void => answer(NLMSG_ERROR, sequence, -errno);

/** The headers of the messages that were sent last. */
export function lastSent(): { type: number; flags: number; sequence: number }[] {
  return splitMessages(kernel.sent.at(-1) ?? new Uint8Array()).map(({ type, flags, sequence }) => ({
    type,
    flags,
    sequence: sequence - BASE,
  }));
}
