/** Makes objects exist, in order, whatever their kinds. If one cannot be made, those that are an attachment's own are undone. */
import { throwIfInterrupted } from "../host/interrupt.ts";
import { quietly } from "../host/io.ts";
import { isTracing, trace } from "../host/trace.ts";
import { itemAt } from "../lists.ts";
import { NetlinkError } from "../netlink/socket.ts";
import { type Kernel, kernelRefused } from "./kernel.ts";
import type { Batch, Kind } from "./kind.ts";

/** @throws CniError of the first object that could not be made, after what the attachment owns has been removed again */
export function makeAll(kernel: Kernel, kinds: readonly Kind[]): void {
  const made: Kind[] = [];
  try {
    let at = 0;
    while (at < kinds.length) {
      throwIfInterrupted();
      at += applyNext(kernel, kinds, at, made);
    }
  } catch (error) {
    undoAll(kernel, made);
    throw error;
  }
}

/** Makes the object at an index, together with those behind it that are in one batch with it. Returns how many that were. */
function applyNext(kernel: Kernel, kinds: readonly Kind[], at: number, made: Kind[]): number {
  const kind = itemAt(kinds, at);
  if (kind === null) return 1;
  const isMade = kind.isMade(kernel);
  if (isTracing()) trace(`${kind.describe()}${isMade ? ": it is as it should be" : ""}`);
  if (isMade) return 1;
  const batch = kind.batch();
  if (batch === "alone") {
    if (kind.undoneInDoubt()) made.push(kind);
    makeAlone(kernel, kind);
    if (!kind.undoneInDoubt()) made.push(kind);
    return 1;
  }
  const members: Kind[] = [];
  for (let i = at; i < kinds.length; i += 1) {
    const member = itemAt(kinds, i);
    if (member === null || member.batch() !== batch) break;
    if (isTracing() && i > at) trace(`${member.describe()}, together with that`);
    members.push(member);
  }
  makeTogether(kernel, batch, members);
  return members.length;
}

function makeAlone(kernel: Kernel, kind: Kind): void {
  try {
    kind.make(kernel);
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, `cannot ${kind.describe()}`, "");
    throw error;
  }
}

function makeTogether(kernel: Kernel, batch: Batch, members: readonly Kind[]): void {
  const makeEach = (): void => {
    for (const member of members) member.make(kernel);
  };
  if (batch === "settings container") {
    kernel.inContainer(makeEach);
    return;
  }
  makeEach();
  if (batch === "settings host") return;
  try {
    kernel.socket(batch === "requests host" ? "host" : "container").run();
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    const member = itemAt(members, error.index);
    throw kernelRefused(error, `cannot ${member === null ? "change the kernel" : member.describe()}`, "");
  }
}

/** Last first. What fails is told, and hides no first cause. */
export function undoAll(kernel: Kernel, made: readonly Kind[]): void {
  for (let i = made.length - 1; i >= 0; i -= 1) {
    const kind = itemAt(made, i);
    if (kind !== null && isTracing()) trace(`undo: ${kind.describe()}`);
    if (kind !== null) quietly(`take back what it took to ${kind.describe()}`, () => kind.undo(kernel));
  }
}
