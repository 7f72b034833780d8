export interface CheckLine {
  /** warning: works, but somebody should look at it; only failed makes the command fail. */
  readonly state: "ok" | "warning" | "failed";
  readonly text: string;
  /** What to do; present unless ok. */
  readonly fix?: string;
}

export const ok = (text: string): CheckLine => ({ state: "ok", text });
export const warning = (text: string, fix: string): CheckLine => ({ state: "warning", text, fix });
export const failed = (text: string, fix: string): CheckLine => ({ state: "failed", text, fix });
