/** Requests stay in the caller's own zone while enough of its endpoints are usable. */
export interface LocalityConfig {
  /** 0..100: below this share of usable endpoints in the own zone, requests begin to go to the others. 0: only with none left. */
  readonly spilloverPercent: number;
}
