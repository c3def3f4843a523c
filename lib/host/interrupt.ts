/** Being told to stop: a signal ends nothing by itself, it makes the next step throw, so that work done is taken back. */
import { CniError, TRY_AGAIN_LATER } from "../errors.ts";
import * as sys from "../sys/sys.ts";

/** @throws CniError 11 if SIGTERM, SIGINT or SIGHUP has arrived */
export function throwIfInterrupted(): void {
  const signal = sys.caughtSignal();
  if (signal !== 0) {
    throw new CniError(TRY_AGAIN_LATER, `interrupted by signal ${signal}`, "what had been done was taken back");
  }
}
