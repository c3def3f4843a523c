/** Being told to stop: a signal ends nothing by itself, it makes the next step throw, so that work done is taken back. */
import { CniError, TRY_AGAIN_LATER } from "../errors.ts";
import * as sys from "../sys/sys.ts";

let thrown = false;

/** Whether a signal that asks us to end has arrived and nothing has been thrown because of it yet. */
export function isInterrupted(): boolean {
  return !thrown && sys.caughtSignal() !== 0;
}

/** Whether something was thrown because of a signal: what happens now is the taking back. */
export function isTakingBack(): boolean {
  return thrown;
}

/**
 * Throws at the first call after a signal, and only then: what follows is the taking back, which nothing must stop.
 * @throws CniError 11 if a signal has arrived that asks us to end
 */
export function throwIfInterrupted(): void {
  if (!isInterrupted()) return;
  thrown = true;
  /* Until now every blocking call was interrupted over and over, so that none could miss the signal. */
  sys.alarmMs(0);
  throw new CniError(
    TRY_AGAIN_LATER,
    `interrupted by signal ${sys.caughtSignal()}`,
    "what had been done was taken back",
  );
}
