# fish completion for bulkhead(1). It reads the program's own --help at each call, and so offers
# what the installed version takes. Needs awk.

# Rows of a help text: kind, short option or "-", name, value or "-", description.
function __bulkhead_rows
    command $argv --help 2>/dev/null | awk '
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
end

# What stands after the command whose words these are, by the usage of its help: FILE, NAME, a choice
# such as a|b or [a|b], or nothing. Of what else stands in brackets, what ends a line with "...".
function __bulkhead_operand
    command $argv --help 2>/dev/null | awk -v name=$argv[-1] '
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
end

# The value that option $argv[1] takes by the rows that follow; fails when it takes none.
function __bulkhead_value
    for row in $argv[2..-1]
        set -l cell (string split \t -- $row)
        if test $cell[1] = option; and contains -- $argv[1] $cell[2..3]; and test "$cell[4]" != -
            echo $cell[4]
            return 0
        end
    end
    return 1
end

function __bulkhead_argument
    switch "$argv[1]"
        case FILE PATH
            __fish_complete_path (commandline -ct)
        case NAME
            command $argv[2] reasons 2>/dev/null | awk '{ name = $1; $1 = ""; print name "\t" substr($0, 2) }'
        case '*|*'
            string split '|' -- $argv[1]
    end
end

function __bulkhead_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l path $words[1]
    set -l rows (__bulkhead_rows $path)
    set -l skip no
    for word in $words[2..-1]
        if test $skip = yes
            set skip no
        else if __bulkhead_value $word $rows >/dev/null
            set skip yes
        else if not string match -q -- '-*' $word
            if string match -qr -- '^command\t-\t'(string escape --style=regex -- $word)'\t' $rows
                set -a path $word
                # A command of `ctl` takes the options of `ctl` too.
                set -l above
                test (count $path) -gt 2; and set above (string match -r -- '^option\t.*' $rows)
                set rows $above (__bulkhead_rows $path)
            else if string match -qr -- '^command\t' $rows
                return # no such command
            end
        end
    end
    if test $skip = yes
        switch (__bulkhead_value $words[-1] $rows)
            case FILE PATH 'DIR*'
                __fish_complete_path $current
        end
    else if string match -q -- '--*=*' $current
        set -l part (string split -m 1 = -- $current)
        switch (__bulkhead_value $part[1] $rows)
            case FILE PATH 'DIR*'
                string replace -r -- '^' "$part[1]=" (__fish_complete_path $part[2])
        end
    else if string match -q -- '-*' $current
        for row in (string match -r -- '^option\t.*' $rows)
            set -l cell (string split \t -- $row)
            test $cell[2] != -; and printf '%s\t%s\n' $cell[2] $cell[5]
            printf '%s\t%s\n' $cell[3] $cell[5]
        end
    else if string match -qr -- '^command\t' $rows
        for row in (string match -r -- '^command\t.*' $rows)
            set -l cell (string split \t -- $row)
            printf '%s\t%s\n' $cell[3] $cell[5]
        end
    else
        __bulkhead_argument "$(__bulkhead_operand $path)" $path[1]
    end
end

complete -c bulkhead -f -a '(__bulkhead_complete)'
