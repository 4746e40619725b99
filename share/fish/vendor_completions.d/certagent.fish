# fish completion of certagent. To install: certagent completion fish >~/.config/fish/completions/certagent.fish
function __certagent
    set -l typed (commandline -cp | string collect)
    set -l command (commandline -opc)[1]
    for line in ($command completion --line "$typed" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c certagent -f -a '(__certagent)'
