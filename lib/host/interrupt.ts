/** Interruption by a signal: the signal itself ends nothing; the next step throws, so that the work done is undone. */
import { CniError, TRY_AGAIN_LATER } from "../errors.ts";
import * as sys from "../sys/sys.ts";

let thrown = false;

/** Whether a signal that asks the process to end has arrived and nothing has been thrown for it yet. */
export function isInterrupted(): boolean {
  return !thrown && sys.caughtSignal() !== 0;
}

/** Whether an exception was thrown for a signal: the process now undoes its work. */
export function isTakingBack(): boolean {
  return thrown;
}

/**
 * Throws at the first call after a signal, and only then: the undoing that follows must not be stopped.
 * @throws CniError 11 if a signal has arrived that asks the process to end
 */
export function throwIfInterrupted(): void {
  if (!isInterrupted()) return;
  thrown = true;
  /* The timer has interrupted blocking calls until now, so that none could miss the signal. */
  sys.alarmMs(0);
  throw new CniError(
    TRY_AGAIN_LATER,
    `interrupted by signal ${sys.caughtSignal()}`,
    "what had been done was taken back",
  );
}
