# shellcheck shell=bash
# bash completion for bulkhead(1). It reads the program's own --help at each call, and so offers
# what the installed version takes. Needs awk; works with and without the bash-completion package.

# Rows of a help text: kind, short option or "-", name, value or "-", description.
_bulkhead_rows()
{
    "$@" --help 2>/dev/null | awk '
        /^Examples?:/ { exit }
        /^Commands/ { commands = 1; next }
        /^$/ { commands = 0 }
        /^  [a-z]/ || /^  (    )?-/ { # a line that goes on stands further in
            sub(/^ +/, ""); short = "-"
            if ($1 ~ /^-[a-zA-Z],$/) { short = substr($1, 1, 2); sub(/^-., */, "") }
            name = $1; said = substr($0, length(name) + 1); value = "-"
            if (said ~ /^ [^ ]/) { value = $2; said = substr(said, length(value) + 2) } # one blank
            sub(/^ +/, "", said)
            if (name ~ /^--/) { print "option\t" short "\t" name "\t" value "\t" said }
            else if (commands) { print "command\t-\t" name "\t" value "\t" said }
        }'
}

# What stands after the command whose words these are, by the usage of its help: FILE, NAME, a choice
# such as a|b or [a|b], or nothing. Of what else stands in brackets, what ends a line with "...".
_bulkhead_operand()
{
    "$@" --help 2>/dev/null | awk -v name="${*: -1}" '
        /^$/ { exit }
        { usage = usage " " $0 }
        /[.][.][.]]?$/ { more = $NF }
        END {
            count = split(usage, word, " ")
            for (i = 1; i < count; i++) {
                if (word[i] != name) continue
                if (word[i + 1] ~ /[|].*]$/) gsub(/[][]/, "", word[i + 1]) # [a|b]
                if (word[i + 1] ~ /^[A-Za-z|]+$/) { print word[i + 1]; exit }
            }
            gsub(/[][.]/, "", more)
            if (more != "") print more
        }'
}

# The value that the option $1 takes by the rows $2, such as FILE; nothing when it takes none.
_bulkhead_value()
{
    awk -F '\t' -v name="$1" '
        $1 == "option" && ($2 == name || $3 == name) && $4 != "-" { print $4; exit }' <<<"$2"
}

_bulkhead_offer()
{
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_bulkhead_files()
{
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_bulkhead_argument()
{
    case $1 in
    FILE | PATH) _bulkhead_files "$3" ;;
    NAME) _bulkhead_offer "$("$2" reasons 2>/dev/null | awk '{ print $1 }')" "$3" ;;
    *"|"*) _bulkhead_offer "${1//|/ }" "$3" ;;
    esac
}

_bulkhead()
{
    local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local -a path=("$program")
    local rows word skip="" i value
    COMPREPLY=()
    # readline takes "--config=x" apart.
    if [ "$current" = = ]; then
        current=""
    elif [ "$previous" = = ]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    rows=$(_bulkhead_rows "$program")
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [ -n "$skip" ]; then
            [ "$word" = = ] || skip=""
        elif [ -n "$(_bulkhead_value "$word" "$rows")" ]; then
            skip=yes
        elif grep -q "^command"$'\t-\t'"$word"$'\t' <<<"$rows"; then
            path+=("$word")
            # A command of `ctl` takes the options of `ctl` too.
            [ ${#path[@]} -gt 2 ] && rows=$(grep '^option' <<<"$rows") || rows=""
            rows=$rows$'\n'$(_bulkhead_rows "${path[@]}")
        elif [ "${word:0:1}" != - ] && grep -q '^command' <<<"$rows"; then
            return # no such command
        fi
    done
    value=$(_bulkhead_value "$previous" "$rows")
    if [ -n "$value" ]; then
        case $value in
        FILE | PATH | DIR*) _bulkhead_files "$current" ;;
        esac
    elif [ "${current:0:1}" = - ]; then
        _bulkhead_offer "$(awk -F '\t' '$1 == "option" { if ($2 != "-") print $2; print $3 }' <<<"$rows")" \
            "$current"
    elif grep -q '^command' <<<"$rows"; then
        _bulkhead_offer "$(awk -F '\t' '$1 == "command" { print $3 }' <<<"$rows")" "$current"
    else
        _bulkhead_argument "$(_bulkhead_operand "${path[@]}")" "$program" "$current"
    fi
}

complete -F _bulkhead bulkhead
