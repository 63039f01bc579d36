/**
 * `diaper completions`: scripts that let a shell ask diaper what could come next, and the answer.
 *
 * The scripts know nothing of the verbs: they call `diaper complete -- WORD...`, where the last word is
 * the one being typed, and get a line `VALUE<tab>DESCRIPTION` for each possibility. A last line `:files`
 * asks the shell for file names instead, `:command` for a command line of its own.
 *
 * @module
 */
import { Argument, type Command, type Option } from "commander";
import { print, printLine } from "./output.ts";

/** One possibility. */
export interface Candidate {
  readonly value: string;
  readonly description: string;
}

/** What could come next: the possibilities, or whom else to ask. */
export interface Completion {
  readonly candidates: readonly Candidate[];
  readonly otherwise: "files" | "command" | undefined;
}

/** Adds the verb that prints a script. */
export function register(parent: Command): void {
  parent.command("completions")
    .description("Print the completion script of a shell.")
    .addArgument(new Argument("<shell>", "the shell").choices(Object.keys(SCRIPTS)))
    .addHelpText(
      "after",
      "\nFor all users:\n" +
        "  diaper completions bash > /usr/share/bash-completion/completions/diaper\n" +
        "  diaper completions zsh > /usr/share/zsh/vendor-completions/_diaper\n" +
        "  diaper completions fish > /usr/share/fish/vendor_completions.d/diaper.fish",
    )
    .action((shell: string) => print(SCRIPTS[shell] ?? ""));
}

/** Adds the hidden verb that the scripts call. */
export function registerAnswer(
  parent: Command,
  buildFor: (verb: string | undefined) => Promise<Command>,
): void {
  parent.command("complete", { hidden: true })
    .argument("[words...]")
    .action(async (words: string[]) => {
      const { candidates, otherwise } = complete(await buildFor(words[0]), words);
      for (const { value, description } of candidates) printLine(`${value}\t${description}`);
      if (otherwise !== undefined) printLine(`:${otherwise}`);
    });
}

/**
 * Finds what could stand for the last of the words.
 *
 * @param program with the verb that the words name registered.
 */
export function complete(program: Command, words: readonly string[]): Completion {
  const typed = words.at(-1) ?? "";
  let command = program;
  let operands = 0;
  let expecting: Option | undefined;
  let optionsEnded = false;
  for (const word of words.slice(0, -1)) {
    if (expecting !== undefined) {
      expecting = undefined;
    } else if (word === "help" && command === program && operands === 0) {
      continue; // what comes next is a verb again
    } else if (word === "--" && !optionsEnded) {
      optionsEnded = true;
    } else if (word.startsWith("-") && word !== "-" && !optionsEnded) {
      const option = findOption(command, word);
      if (option?.required === true && !word.includes("=")) expecting = option;
    } else {
      const sub = operands === 0 && !optionsEnded ? findCommand(command, word) : undefined;
      if (sub === undefined) operands++;
      else command = sub;
    }
  }
  if (expecting !== undefined) {
    return choices(expecting.argChoices, expecting.description, typed, "");
  }
  const assignment = /^(--[^=]+=)(.*)$/s.exec(typed);
  if (assignment !== null && !optionsEnded) {
    const [, prefix = "", value = ""] = assignment;
    const option = findOption(command, prefix.slice(0, -1));
    return choices(option?.argChoices, option?.description ?? "", value, prefix);
  }
  if (startsProgram(command) && operands > 0) return { candidates: [], otherwise: "files" };
  if (typed.startsWith("-") && !optionsEnded) return flags(command, typed);
  return operand(command, operands, typed, optionsEnded);
}

function operand(command: Command, at: number, typed: string, optionsEnded: boolean): Completion {
  const help = command.createHelp();
  const commands = at > 0 || optionsEnded ? [] : help.visibleCommands(command)
    .map((c) => ({ value: c.name(), description: c.description() }))
    .filter((c) => c.value.startsWith(typed));
  const declared = command.registeredArguments;
  const argument = declared[at] ??
    (declared.at(-1)?.variadic === true ? declared.at(-1) : undefined);
  if (argument === undefined) return { candidates: commands, otherwise: undefined };
  if (at === 0 && startsProgram(command)) {
    return { candidates: commands, otherwise: "command" };
  }
  const values = choices(argument.argChoices, argument.description, typed, "");
  return { candidates: [...commands, ...values.candidates], otherwise: values.otherwise };
}

/** True for verbs whose operands are a command line: what follows its first word is that program's. */
function startsProgram(command: Command): boolean {
  return command.registeredArguments[0]?.name() === "program";
}

function flags(command: Command, typed: string): Completion {
  const candidates: Candidate[] = [];
  for (const option of command.createHelp().visibleOptions(command)) {
    const description = option.description;
    if (option.long?.startsWith(typed)) candidates.push({ value: option.long, description });
    else if (option.short === typed) candidates.push({ value: option.short, description });
  }
  return { candidates, otherwise: undefined };
}

function choices(
  values: readonly string[] | undefined,
  description: string,
  typed: string,
  prefix: string,
): Completion {
  if (values === undefined) return { candidates: [], otherwise: "files" };
  const candidates = values.filter((value) => value.startsWith(typed))
    .map((value) => ({ value: prefix + value, description }));
  return { candidates, otherwise: undefined };
}

function findCommand(command: Command, name: string): Command | undefined {
  return command.commands.find((c) => c.name() === name || c.aliases().includes(name));
}

function findOption(command: Command, word: string): Option | undefined {
  const name = word.split("=", 1)[0];
  return command.options.find((option) => option.long === name || option.short === name);
}

const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `# bash completion for diaper
_diaper() {
  local line current="\${COMP_WORDS[COMP_CWORD]}" values=() i
  COMPREPLY=()
  # bash takes --name=value apart at the equals sign; put it together again.
  local words=() joined=""
  for ((i = 1; i <= COMP_CWORD; i++)); do
    local word="\${COMP_WORDS[i]}"
    if [[ $word == "=" && \${#words[@]} -gt 0 ]]; then
      words[-1]+="="; joined=1
    elif [[ -n $joined ]]; then
      words[-1]+="$word"; joined=""
    else
      words+=("$word")
    fi
  done
  [[ $current == "=" ]] && current=""
  while IFS= read -r line; do
    case "$line" in
      :files) compopt -o default; return ;;
      :command) compopt -o default; COMPREPLY=($(compgen -c -- "$current")); return ;;
      *) values+=("\${line%%$'\\t'*}") ;;
    esac
  done < <("\${COMP_WORDS[0]}" complete -- "\${words[@]}" 2>/dev/null)
  for line in "\${values[@]}"; do
    [[ \${words[-1]} == --*=* ]] && line="\${line#*=}"
    COMPREPLY+=("$line")
  done
}
complete -F _diaper diaper
`,
  zsh: `#compdef diaper
_diaper() {
  local line
  local -a values
  while IFS= read -r line; do
    case "$line" in
      :files) _files; return ;;
      :command) _command_names -e; return ;;
      *) values+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
    esac
  done < <("\${words[1]}" complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  _describe 'diaper' values
}
if [[ "$funcstack[1]" == _diaper ]]; then _diaper "$@"; else compdef _diaper diaper; fi
`,
  fish: `# fish completion for diaper
function __diaper_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path (commandline -ct)
            case :command
                __fish_complete_command
            case '*'
                echo $line
        end
    end
end
complete -c diaper -f -a '(__diaper_complete)'
`,
};
